//! What went wrong in TLS, in words with a remedy.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// A sentence without its full stop: what happened, and what to do.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => format!("TLS: {}", of_certificate(why)),
        Error::AlertReceived(alert) => format!("TLS: {}", of_alert(*alert)),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "TLS: the broker does not speak TLS on this port; dial its TLS listener, or set tls.enable = false"
                .to_string()
        }
        Error::PeerIncompatible(why) => {
            format!("TLS: the broker and tls.versions, tls.ciphers have nothing in common ({why:?})")
        }
        other => format!("TLS: {other}"),
    }
}

fn of_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "the broker's certificate is not signed by a trusted authority; set \
                                            tls.cacertfile to the authority's certificate"
            .to_string(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{}; dial the broker by that name, or set tls.server_name_indication to it", name_fault(why))
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the broker's certificate, or one above it, has expired; renew it at the broker".to_string()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is not valid yet; compare the clocks of both machines".to_string()
        }
        CertificateError::Other(other) => other.0.to_string(),
        other => format!("the broker's certificate is refused: {other}"),
    }
}

fn name_fault(why: &CertificateError) -> String {
    match why {
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the broker's certificate is for {}, not for {}",
            if presented.is_empty() { "no name".to_string() } else { presented.join(", ") },
            expected.to_str()
        ),
        _ => "the broker's certificate is for another name".to_string(),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => format!(
            "the broker refuses our certificate, or wants one ({alert:?}); set tls.certfile and tls.keyfile to a pair \
             whose authority the broker trusts"
        ),
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => format!(
            "the broker refuses the handshake ({alert:?}): tls.versions or tls.ciphers share nothing with its own, or it \
             wants a certificate (tls.certfile, tls.keyfile)"
        ),
        AlertDescription::UnrecognisedName => {
            "the broker knows no such name; set tls.server_name_indication".to_string()
        }
        other => format!("the broker ended it: {other:?}"),
    }
}
