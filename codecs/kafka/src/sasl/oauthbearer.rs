//! OAUTHBEARER (RFC 7628): a token that an authorization server issued, and Kafka's extensions beside it (KIP-342).
//!
//! ```text
//! n,, SOH auth=Bearer TOKEN SOH (name=value SOH)* SOH        SOH = 0x01
//! ```
//!
//! A broker that does not accept the token answers with a JSON text that says why, and only then ends the exchange.

use super::{Fault, Mechanism, Secret, Step};
use crate::ErrorCode;

/// What is said.
#[derive(Debug)]
pub struct OauthBearer {
    token: Secret,
    extensions: Vec<(String, String)>,
}

impl OauthBearer {
    /// Shows `token`, and the extensions in their order.
    pub fn new(token: Secret, extensions: Vec<(String, String)>) -> Self {
        Self { token, extensions }
    }

    pub(super) fn message(&self) -> Vec<u8> {
        let mut message = format!("n,,\x01auth=Bearer {}\x01", self.token.expose());
        for (name, value) in &self.extensions {
            message.push_str(&format!("{name}={value}\x01"));
        }
        message.push('\x01');
        message.into_bytes()
    }

    pub(super) fn answer(challenge: &[u8]) -> Result<Step, Fault> {
        if challenge.is_empty() {
            return Ok(Step::Done);
        }
        let words = String::from_utf8_lossy(challenge);
        Err(Fault::refused(Mechanism::OauthBearer, ErrorCode::SASL_AUTHENTICATION_FAILED, &words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::Exchange;

    #[test]
    fn the_token_stands_before_the_extensions() {
        let extensions = vec![("logicalCluster".to_string(), "lkc-1".to_string())];
        let mut exchange = Exchange::OauthBearer(OauthBearer::new(Secret::new("abc"), extensions));
        let message = b"n,,\x01auth=Bearer abc\x01logicalCluster=lkc-1\x01\x01".to_vec();
        assert_eq!(exchange.begin(), Step::Send(message));
        assert_eq!(exchange.answer(b""), Ok(Step::Done));
    }

    #[test]
    fn a_refusal_is_told_in_the_brokers_words() {
        let mut exchange = Exchange::OauthBearer(OauthBearer::new(Secret::new("abc"), Vec::new()));
        exchange.begin();
        let fault = exchange.answer(br#"{"status":"invalid_token"}"#).unwrap_err();
        assert!(fault.to_string().contains("invalid_token"), "{fault}");
    }
}
