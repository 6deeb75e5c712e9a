//! PLAIN (RFC 4616): user and password as they are. Whoever reads the connection knows both, so it belongs inside TLS.
//!
//! ```text
//! [authorization id] NUL user NUL password
//! ```

use super::Secret;

/// What is said.
#[derive(Debug)]
pub struct Plain {
    username: String,
    password: Secret,
}

impl Plain {
    /// The authentication of `username`.
    pub fn new(username: impl Into<String>, password: Secret) -> Self {
        Self { username: username.into(), password }
    }

    pub(super) fn message(&self) -> Vec<u8> {
        [b"\0", self.username.as_bytes(), b"\0", self.password.expose().as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::{Exchange, Step};

    /// RFC 4616, section 4, without an authorization id.
    #[test]
    fn the_message_is_the_standards() {
        let mut exchange = Exchange::Plain(Plain::new("tim", Secret::new("tanstaaftanstaaf")));
        assert_eq!(exchange.begin(), Step::Send(b"\0tim\0tanstaaftanstaaf".to_vec()));
        assert_eq!(exchange.answer(b""), Ok(Step::Done));
        assert!(!format!("{exchange:?}").contains("tanstaaf"));
    }
}
