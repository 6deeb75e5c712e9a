//! What the library's codes mean to people. Its own words stand in brackets behind ours.

use std::io;

use super::Failure;

/// A code of the library, and its words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    code: u32,
    words: String,
}

/// Codes of MIT's error tables (krb5_err.et), as GSSAPI hands them on.
const TABLE: u32 = 0x96c7_3a00;
const CLIENT_UNKNOWN: u32 = TABLE + 6;
const SERVER_UNKNOWN: u32 = TABLE + 7;
const CLIENT_REVOKED: u32 = TABLE + 18;
const KEY_EXPIRED: u32 = TABLE + 23;
const PREAUTH_FAILED: u32 = TABLE + 24;
const BAD_INTEGRITY: u32 = TABLE + 31;
const TICKET_EXPIRED: u32 = TABLE + 32;
const SKEW: u32 = TABLE + 37;
const KDC_REPLY_SKEW: u32 = TABLE + 148;
const CACHE_HAS_NOT: u32 = TABLE + 141;
const REALM_UNKNOWN: u32 = TABLE + 154;
const KDC_UNREACHABLE: u32 = TABLE + 156;
const KEYTAB_HAS_NOT: u32 = TABLE + 181;
const NO_CACHE: u32 = TABLE + 195;
const REALM_NOT_FOUND: u32 = TABLE + 220;
const NO_DEFAULT_REALM: u32 = TABLE + 224;

const KDC_REMEDY: &str = "check kdc of the realm in krb5.conf (KRB5_CONFIG says which file), and the way to it";

impl Trouble {
    /// `text` is "general (particular)", as GSSAPI shows a status; the particular is what helps.
    pub(super) fn new(code: u32, text: &str) -> Self {
        let particular = text.split_once(" (").map_or(text, |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
        Self { code, words: particular.trim().to_string() }
    }

    /// What goes wrong whoever is spoken to.
    fn general(&self) -> Option<String> {
        let words = &self.words;
        Some(match self.code {
            KDC_UNREACHABLE => format!("no KDC can be reached ({words}); {KDC_REMEDY}"),
            REALM_UNKNOWN | REALM_NOT_FOUND => format!("the realm has no KDC that is known ({words}); {KDC_REMEDY}"),
            NO_DEFAULT_REALM => format!(
                "there is no realm ({words}); write authentication.principal as NAME@REALM, or default_realm into krb5.conf"
            ),
            SKEW | KDC_REPLY_SKEW => format!(
                "clocks differ by more than Kerberos allows ({words}); set those of this machine, the KDC and the brokers by NTP"
            ),
            _ => return None,
        })
    }
}

/// The keytab cannot be read.
pub(super) fn of_file(keytab: &str, error: &io::Error) -> Failure {
    let why = format!(
        "the keytab {keytab} cannot be read ({error}); set authentication.keytab_file to a file that this process may read"
    );
    Failure { why, for_all: true, has_ended: false }
}

/// The KDC has given no ticket to us.
pub(super) fn of_ticket(trouble: &Trouble, principal: &str, keytab: &str) -> Failure {
    let words = &trouble.words;
    let why = trouble.general().unwrap_or_else(|| match trouble.code {
        NO_CACHE | CACHE_HAS_NOT | KEYTAB_HAS_NOT => format!(
            "the keytab {keytab} holds no key of {principal}; klist -k {keytab} shows whose keys it holds: correct \
             authentication.principal or keytab_file"
        ),
        BAD_INTEGRITY | PREAUTH_FAILED => format!(
            "the KDC does not take the key of {principal} in the keytab {keytab} ({words}): it is not, or no longer, the \
             principal's; export the keytab again"
        ),
        CLIENT_UNKNOWN => {
            format!("the KDC does not know {principal} ({words}); correct authentication.principal, or create it in the realm")
        }
        CLIENT_REVOKED | KEY_EXPIRED => {
            format!("the KDC gives {principal} no ticket any more ({words}); have the principal unlocked or its key renewed")
        }
        _ => format!("no ticket for {principal} ({words}); kinit -k -t {keytab} {principal} tries the same by hand"),
    });
    Failure { why, for_all: true, has_ended: false }
}

/// The KDC has given no ticket for the broker.
pub(super) fn of_service(trouble: &Trouble, service: &str, host: &str) -> Failure {
    let words = &trouble.words;
    if let Some(why) = trouble.general() {
        return Failure { why, for_all: true, has_ended: false };
    }
    let why = match trouble.code {
        SERVER_UNKNOWN => format!(
            "the KDC knows no service {service} at {host} ({words}); correct authentication.service_name, dial brokers by the \
             names their principals bear, and mind that dns_canonicalize_hostname and rdns in krb5.conf may change those"
        ),
        _ => format!("no ticket for {service} at {host} ({words}); kvno {service}/{host} tries the same by hand"),
    };
    Failure { why, for_all: false, has_ended: trouble.code == TICKET_EXPIRED }
}

/// The broker has said something that it should not have.
pub(super) fn of_broker(trouble: &Trouble) -> String {
    let words = &trouble.words;
    let proof = || {
        format!("the broker has not proven who it is ({words}); check its keytab, and that this is the broker you mean")
    };
    trouble.general().unwrap_or_else(proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(code: u32, words: &str) -> String {
        let text = format!("No credentials were supplied ({words})");
        of_ticket(&Trouble::new(code, &text), "alice@R", "/k").why
    }

    fn service(code: u32, words: &str) -> Failure {
        of_service(&Trouble::new(code, &format!("Unspecified GSS failure ({words})")), "kafka", "k1")
    }

    #[test]
    fn each_code_has_what_where_why_and_a_remedy() {
        for (code, words, expected) in [
            (NO_CACHE, "No credentials cache found", "the keytab /k holds no key of alice@R; klist -k /k shows"),
            (BAD_INTEGRITY, "Decrypt integrity check failed", "export the keytab again"),
            (PREAUTH_FAILED, "Preauthentication failed", "export the keytab again"),
            (CLIENT_UNKNOWN, "Client not found", "the KDC does not know alice@R (Client not found); correct"),
            (CLIENT_REVOKED, "Clients credentials have been revoked", "have the principal unlocked"),
            (KDC_UNREACHABLE, "Cannot contact any KDC", "no KDC can be reached (Cannot contact any KDC); check kdc"),
            (KDC_REPLY_SKEW, "Clock skew too great in KDC reply", "clocks differ by more than Kerberos allows (Clock"),
            (SKEW, "Clock skew too great", "clocks differ by more than Kerberos allows (Clock skew too great); set"),
            (
                NO_DEFAULT_REALM,
                "Configuration file does not specify default realm",
                "write authentication.principal as",
            ),
            (1, "who knows", "no ticket for alice@R (who knows); kinit -k -t /k alice@R"),
        ] {
            let said = ticket(code, words);
            assert!(said.contains(expected), "{code:x}: {said}");
        }
    }

    #[test]
    fn a_broker_that_the_kdc_does_not_know_is_no_trouble_of_others() {
        let unknown = service(SERVER_UNKNOWN, "Server kafka/k1@R not found in Kerberos database");
        assert!(
            !unknown.for_all && unknown.why.contains("no service kafka at k1 (Server kafka/k1@R not found"),
            "{unknown:?}"
        );
        assert!(unknown.why.contains("service_name") && unknown.why.contains("rdns"), "{unknown:?}");
        assert!(service(KDC_UNREACHABLE, "Cannot contact any KDC").for_all);
        assert!(!unknown.has_ended && service(TICKET_EXPIRED, "Ticket expired").has_ended);
    }

    #[test]
    fn files_and_brokers_are_named_too() {
        let failure = of_file("/k", &io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(failure.why.starts_with("the keytab /k cannot be read (permission denied); set"), "{failure:?}");
        let broker = of_broker(&Trouble::new(1, "A token was invalid (ASN.1 failed call to system time library)"));
        assert!(
            broker.contains("has not proven who it is (ASN.1 failed") && broker.contains("check its keytab"),
            "{broker}"
        );
    }

    #[test]
    fn words_without_brackets_are_kept_whole() {
        assert_eq!(Trouble::new(1, "plain").words, "plain");
        assert_eq!(Trouble::new(1, "a (b (c))").words, "b (c)");
    }
}
