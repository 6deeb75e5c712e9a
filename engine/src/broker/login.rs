//! How one shard proves to the brokers of a cluster who it is: what each new authentication begins with.
//!
//! Tokens come from the control thread, which refreshes them ahead of their end; nonces from a key given at start.
//!
//! Left out: the exchange itself ([`kafka::sasl`]), and when to authenticate again ([`super::link`]).

use kafka::sasl::oauthbearer::OauthBearer;
use kafka::sasl::plain::Plain;
use kafka::sasl::scram::{Hash, Nonces, Salted, Scram};
use kafka::sasl::{Exchange, Mechanism, Secret};

use crate::config::Authentication;

/// What we prove ourselves with.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Nothing is asked of us.
    None,
    /// User and password.
    Plain {
        /// The user.
        username: String,
        /// Their password.
        password: Secret,
    },
    /// Proof of knowing the password.
    Scram {
        /// Which hash.
        hash: Hash,
        /// The user.
        username: String,
        /// Their password.
        password: Secret,
    },
    /// The token of the day.
    OauthBearer {
        /// Shown beside it.
        extensions: Vec<(String, String)>,
    },
    /// Kerberos, whose library the control thread speaks to.
    Gssapi,
}

/// The logins of one shard to one cluster.
#[derive(Debug)]
pub struct Login {
    credentials: Credentials,
    nonces: Nonces,
    /// The salted password, computed at the first login with SCRAM.
    salted: Option<Salted>,
    /// A token, or why there is none.
    token: Result<Secret, String>,
}

impl From<&Authentication> for Credentials {
    fn from(authentication: &Authentication) -> Self {
        let secret = |secret: &crate::config::Secret| Secret::new(secret.expose());
        match authentication {
            Authentication::None => Self::None,
            // A build without Kerberos has refused the configuration.
            Authentication::Gssapi { .. } => Self::Gssapi,
            Authentication::Plain { username, password } => {
                Self::Plain { username: username.clone(), password: secret(password) }
            }
            Authentication::Scram { sha_512, username, password } => Self::Scram {
                hash: if *sha_512 { Hash::Sha512 } else { Hash::Sha256 },
                username: username.clone(),
                password: secret(password),
            },
            Authentication::OauthBearer(client) => Self::OauthBearer { extensions: client.extensions.clone() },
        }
    }
}

impl Login {
    /// `nonces` must differ from those of every other shard and cluster.
    pub fn new(credentials: Credentials, nonces: Nonces) -> Self {
        let token = Err("no token has been issued yet".to_string());
        Self { credentials, nonces, salted: None, token }
    }

    /// Proves it with these from now on. Nonces go on: none may be drawn twice.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        let both_want_tokens = |a: &Credentials, b: &Credentials| {
            matches!((a, b), (Credentials::OauthBearer { .. }, Credentials::OauthBearer { .. }))
        };
        // A token that was issued to another client is good until the next one comes.
        if !both_want_tokens(&self.credentials, &credentials) {
            self.token = Err("no token has been issued yet".to_string());
        }
        (self.credentials, self.salted) = (credentials, None);
    }

    /// Why no connection is worth a try now, or `None`.
    pub fn lacks(&self) -> Option<&str> {
        match (&self.credentials, &self.token) {
            (Credentials::OauthBearer { .. }, Err(why)) => Some(why),
            _ => None,
        }
    }

    /// A new token, or why there is none any more.
    pub fn set_token(&mut self, token: Result<Secret, String>) {
        self.token = token;
    }

    /// Whether what to say comes from a library that may take its time.
    pub fn is_outside(&self) -> bool {
        matches!(self.credentials, Credentials::Gssapi)
    }

    /// The next authentication; `None` if none is asked of us, or there is nothing to show.
    pub fn exchange(&mut self) -> Option<Exchange> {
        match &self.credentials {
            Credentials::None => None,
            Credentials::Plain { username, password } => {
                Some(Exchange::Plain(Plain::new(username.clone(), password.clone())))
            }
            Credentials::Scram { hash, username, password } => {
                let nonce = self.nonces.draw();
                let scram = Scram::new(*hash, username.clone(), password.clone(), nonce, self.salted.clone());
                Some(Exchange::Scram(Box::new(scram)))
            }
            Credentials::OauthBearer { extensions } => {
                let token = self.token.as_ref().ok()?.clone();
                Some(Exchange::OauthBearer(OauthBearer::new(token, extensions.clone())))
            }
            Credentials::Gssapi => Some(Exchange::outside(Mechanism::Gssapi)),
        }
    }

    /// An authentication has succeeded, with this salted password.
    pub fn learn(&mut self, salted: Option<Salted>) {
        if salted.is_some() {
            self.salted = salted;
        }
    }

    /// What to look at when brokers refuse it.
    pub fn remedy(&self) -> &'static str {
        match &self.credentials {
            Credentials::None => "set authentication of the connector",
            Credentials::Plain { .. } | Credentials::Scram { .. } => {
                "check authentication.mechanism, username and password of the connector, and the user at the broker"
            }
            Credentials::Gssapi => {
                "check authentication.principal and service_name of the connector, the keytab of the broker, and that the \
                 clocks agree"
            }
            Credentials::OauthBearer { .. } => {
                "check authentication.client_id, scope and extensions of the connector, and which tokens the broker takes"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka::sasl::Step;

    use super::*;
    use crate::config::{Document, Loaded, Machine, Sources};

    fn scram(password: &str) -> Credentials {
        Credentials::Scram { hash: Hash::Sha256, username: "u".to_owned(), password: Secret::new(password) }
    }

    /// What a link would say first.
    fn first_words(login: &mut Login) -> String {
        format!("{:?}", login.exchange().expect("something is asked of us"))
    }

    #[test]
    fn no_nonce_is_drawn_twice_though_the_credentials_change() {
        let [mut same, mut other] = [(); 2].map(|()| Login::new(scram("a"), Nonces::new([7; 32], 0)));
        let first = [first_words(&mut same), first_words(&mut other)];
        other.set_credentials(scram("a"));
        let second = [first_words(&mut same), first_words(&mut other)];
        assert!(first[0] == first[1] && second[0] == second[1] && first[0] != second[0], "{first:?} {second:?}");
    }

    /// From the options of a connector to the first words to a broker (RFC 7628, section 3.1).
    #[test]
    fn extensions_are_shown_beside_the_token() {
        let text = "[connectors.k]\ntls.enable = true\nauthentication = { mechanism = \"oauthbearer\", client_id = \"c\", \
                    token_endpoint = \"https://login.test/t\", client_secret = \"s\", \
                    extensions = { logicalCluster = \"lkc-1\", identityPoolId = \"pool-2\" } }\n\
                    [sinks.s]\nconnector = \"k\"\ntopic = \"t\"\nsource_topics = [\"#\"]\n";
        let loaded = Loaded::load(&Sources::file(Document::new("a test", text)), &Machine::probe());
        let connector = loaded.expect("a good file").config.connectors.remove(0);
        let credentials = Credentials::from(&connector.security.expect("a Kafka connector").authentication);
        let mut login = Login::new(credentials, Nonces::new([7; 32], 0));
        login.set_token(Ok(Secret::new("token")));
        let words = b"n,,\x01auth=Bearer token\x01logicalCluster=lkc-1\x01identityPoolId=pool-2\x01\x01".to_vec();
        assert_eq!(login.exchange().expect("an exchange").begin(), Step::Send(words));
    }

    #[test]
    fn a_token_is_good_for_another_client_and_for_no_other_mechanism() {
        let oauth = || Credentials::OauthBearer { extensions: Vec::new() };
        let mut login = Login::new(oauth(), Nonces::new([7; 32], 0));
        login.set_token(Ok(Secret::new("token")));
        login.set_credentials(oauth());
        assert_eq!(login.lacks(), None);
        login.set_credentials(scram("a"));
        login.set_credentials(oauth());
        assert!(login.lacks().is_some());
    }
}
