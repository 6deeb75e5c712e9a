//! `authentication.*` of a connector: who we are to the brokers (SASL).

use std::path::PathBuf;

use super::kind::choice::{Choice, Words, words};
use super::kind::text::{File, Secret, SecretText, Text};
use super::kind::url::{Url, UrlText};
use super::kind::{Complaint, Described, Kind, Optional, World};
use super::option::{absent, derived, options, or};
use super::problem::Problem;
use super::reader::Reader;
use super::value::{Raw, Value};

words! {
    /// How to prove who we are.
    pub enum Mechanism {
        /// Not at all, or by a client certificate.
        None = "none",
        /// User name and password (RFC 4616).
        Plain = "plain",
        /// User name and password that never leaves this process (RFC 5802).
        ScramSha256 = "scram_sha_256",
        /// The same with a longer hash.
        ScramSha512 = "scram_sha_512",
        /// Kerberos (RFC 4752).
        Gssapi = "gssapi",
        /// A token that an authorization server issues (RFC 7628).
        OauthBearer = "oauthbearer",
    }
}

options! {
    /// Authentication to the brokers (SASL). `authentication = "none"` stands for `authentication = { mechanism = "none" }`.
    pub struct AuthenticationOptions {
        /// How to prove who we are. The other options of this table belong to the mechanisms they name.
        "authentication.mechanism" => mechanism: Mechanism =
            Choice::of(), derived("\"none\"; \"plain\" for type \"confluent\"", "none", mechanism_of_type), live;
        /// plain, scram: the user; an API key in Confluent Cloud.
        "authentication.username" => username: Option<String> = Optional(Text), absent("aqueduct"), live;
        /// plain, scram: the password; the secret of the API key in Confluent Cloud.
        "authentication.password" => password: Option<Secret> =
            Optional(SecretText), absent("{ file = \"/run/secrets/kafka-password\" }"), live;
        /// gssapi: who we are in the realm. Needs a build with the feature `gssapi`; others refuse the mechanism.
        "authentication.principal" => principal: Option<String> = Optional(Text), absent("aqueduct@EXAMPLE.ORG"), live;
        /// gssapi: the file that holds the principal's key. Tickets are fetched with it, kept in memory and renewed.
        "authentication.keytab_file" => keytab_file: Option<PathBuf> =
            Optional(File), absent("/etc/aqueduct/aqueduct.keytab"), live;
        /// gssapi: first part of the brokers' principals; the second is the name a broker is dialled by.
        "authentication.service_name" => service_name: String = Text, or("kafka"), live;
        /// oauthbearer: where tokens are issued, http or https (verified against the system's authorities and
        /// `tls.cacertfile`).
        "authentication.token_endpoint" => token_endpoint: Option<Url> =
            Optional(UrlText), absent("https://login.example.org/oauth2/token"), live;
        /// oauthbearer: the client that asks for a token (client credentials, RFC 6749).
        "authentication.client_id" => client_id: Option<String> = Optional(Text), absent("aqueduct"), live;
        /// oauthbearer: its secret.
        "authentication.client_secret" => client_secret: Option<Secret> =
            Optional(SecretText), absent("{ file = \"/run/secrets/oauth-secret\" }"), live;
        /// oauthbearer: the scope to ask for.
        "authentication.scope" => scope: Option<String> = Optional(Text), absent("kafka"), live;
        /// oauthbearer: names and values shown to the broker beside the token (KIP-342), such as `logicalCluster`.
        "authentication.extensions" => extensions: Vec<(String, String)> =
            Extensions, absent("logicalCluster=lkc-1,identityPoolId=pool-1"), live;
    }
}

/// How a connector proves who it is; complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Authentication {
    /// Not at all, or by a client certificate.
    #[default]
    None,
    /// The password as it is.
    Plain {
        /// The user.
        username: String,
        /// Their password.
        password: Secret,
    },
    /// Proof of knowing the password.
    Scram {
        /// With SHA-512; otherwise with SHA-256.
        sha_512: bool,
        /// The user.
        username: String,
        /// Their password.
        password: Secret,
    },
    /// Kerberos.
    Gssapi {
        /// Who we are.
        principal: String,
        /// Holds the principal's key.
        keytab_file: PathBuf,
        /// First part of the brokers' principals.
        service_name: String,
    },
    /// A token of an authorization server.
    OauthBearer(OauthClient),
}

/// What a token is asked for with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthClient {
    /// Where tokens are issued.
    pub token_endpoint: Url,
    /// Who asks.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What for.
    pub scope: Option<String>,
    /// Shown to the broker beside the token.
    pub extensions: Vec<(String, String)>,
}

/// How to get a build with Kerberos.
pub(crate) const KERBEROS_REMEDY: &str = "build with it: cargo build --release -p aqueduct --features gssapi (Debian: after \
     apt install libkrb5-dev libclang-dev pkg-config); or use scram_sha_512 over TLS, which is as safe against eavesdroppers";

/// Which options belong to which mechanisms; those before the bar are needed.
const BELONGS: &[(Mechanism, &[&str], &[&str])] = &[
    (Mechanism::None, &[], &[]),
    (Mechanism::Plain, &["username", "password"], &[]),
    (Mechanism::ScramSha256, &["username", "password"], &[]),
    (Mechanism::ScramSha512, &["username", "password"], &[]),
    (Mechanism::Gssapi, &["principal", "keytab_file"], &["service_name"]),
    (Mechanism::OauthBearer, &["token_endpoint", "client_id", "client_secret"], &["scope", "extensions"]),
];

impl Authentication {
    /// Reads the options of a connector and checks that they fit together; `None` if something is wrong.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let options = AuthenticationOptions::read(reader)?;
        if !fits(options.mechanism, reader) {
            return None;
        }
        let user = |options: AuthenticationOptions| options.username.zip(options.password);
        match options.mechanism {
            Mechanism::None => Some(Self::None),
            Mechanism::Plain => user(options).map(|(username, password)| Self::Plain { username, password }),
            Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
                let sha_512 = options.mechanism == Mechanism::ScramSha512;
                user(options).map(|(username, password)| Self::Scram { sha_512, username, password })
            }
            Mechanism::Gssapi => Some(Self::Gssapi {
                principal: options.principal?,
                keytab_file: options.keytab_file?,
                service_name: options.service_name,
            }),
            Mechanism::OauthBearer => Some(Self::OauthBearer(OauthClient {
                token_endpoint: options.token_endpoint?,
                client_id: options.client_id?,
                client_secret: options.client_secret?,
                scope: options.scope,
                extensions: options.extensions,
            })),
        }
    }
}

impl Authentication {
    /// The keys of options that have another value in `other`; of another mechanism only that.
    pub(super) fn differing(&self, other: &Self) -> Vec<&'static str> {
        match (self, other) {
            (Self::Plain { username, password }, Self::Plain { username: user, password: secret }) => {
                users_differ((username, password), (user, secret))
            }
            (
                Self::Scram { sha_512, username, password },
                Self::Scram { sha_512: longer, username: user, password: secret },
            ) if sha_512 == longer => users_differ((username, password), (user, secret)),
            (
                Self::Gssapi { principal, keytab_file, service_name },
                Self::Gssapi { principal: name, keytab_file: file, service_name: service },
            ) => named(&[
                ("authentication.principal", principal != name),
                ("authentication.keytab_file", keytab_file != file),
                ("authentication.service_name", service_name != service),
            ]),
            (Self::OauthBearer(own), Self::OauthBearer(other)) => named(&[
                ("authentication.token_endpoint", own.token_endpoint != other.token_endpoint),
                ("authentication.client_id", own.client_id != other.client_id),
                ("authentication.client_secret", own.client_secret != other.client_secret),
                ("authentication.scope", own.scope != other.scope),
                ("authentication.extensions", own.extensions != other.extensions),
            ]),
            _ => named(&[("authentication.mechanism", self != other)]),
        }
    }
}

fn users_differ(own: (&String, &Secret), other: (&String, &Secret)) -> Vec<&'static str> {
    named(&[("authentication.username", own.0 != other.0), ("authentication.password", own.1 != other.1)])
}

fn named(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key).collect()
}

/// Reports options that the mechanism needs and does not have, and those it has and does not know.
fn fits(mechanism: Mechanism, reader: &mut Reader<'_>) -> bool {
    let Some((_, needed, known)) = BELONGS.iter().find(|(of, ..)| *of == mechanism) else { return true };
    let mut problems = Vec::new();
    let word = mechanism.word();
    for row in AuthenticationOptions::ROWS {
        let short = row.key.trim_start_matches("authentication.");
        let path = reader.path(row.key);
        if short == "mechanism" {
            continue;
        }
        match reader.place(row.key) {
            Some(place) if !needed.contains(&short) && !known.contains(&short) => {
                let fault = format!("`{path}` is not an option of mechanism \"{word}\"");
                problems.push(Problem::error(fault, "leave it out, or correct the mechanism").at(Some(place), ""));
            }
            None if needed.contains(&short) => {
                let remedy = format!("add `{short} = {}`, with your own value", row.example());
                let problem = Problem::error(format!("`{path}` is missing: mechanism \"{word}\" needs it"), remedy);
                let place = reader.place("authentication.mechanism").or_else(|| reader.object_place());
                problems.push(problem.at(place, ""));
            }
            _ => {}
        }
    }
    let fits = problems.is_empty();
    reader.load.problems.append(&mut problems);
    fits
}

fn mechanism_of_type(reader: &Reader<'_>) -> String {
    let mechanism = match reader.text("type").as_deref() {
        Some("confluent") => Mechanism::Plain,
        _ => Mechanism::None,
    };
    mechanism.word().to_string()
}

/// Names and values: a table, or one string `a=b,c=d`.
pub(crate) struct Extensions;

impl Described for Extensions {
    fn noun(&self) -> String {
        "table of names and values".to_string()
    }
    fn literal(&self, word: &str) -> String {
        let pairs: Vec<String> = (word.split(',').filter_map(|pair| pair.split_once('=')))
            .map(|(name, value)| format!("{} = {}", name.trim(), super::value::quote(value.trim())))
            .collect();
        format!("{{ {} }}", pairs.join(", "))
    }
}

impl Kind for Extensions {
    type Value = Vec<(String, String)>;

    fn read(&self, value: &Value, _: &World) -> Result<Self::Value, Complaint> {
        let remedy = "write names of letters and values of printable characters: { logicalCluster = \"lkc-1\" }";
        let complaint = |at: &Value| Complaint {
            span: Some(at.span.clone()),
            ..Complaint::not("a table of names and values", at, remedy)
        };
        let mut pairs = Vec::new();
        match &value.raw {
            Raw::Table(entries) => {
                for (key, entry) in entries {
                    pairs.push((key.name.clone(), entry.text().ok_or_else(|| complaint(entry))?.to_string()));
                }
            }
            _ => {
                for pair in value.text().ok_or_else(|| complaint(value))?.split(',') {
                    let (name, text) = pair.split_once('=').ok_or_else(|| complaint(value))?;
                    pairs.push((name.trim().to_string(), text.trim().to_string()));
                }
            }
        }
        // RFC 7628, section 3.1; `auth` is the token itself.
        let legal = |(name, text): &(String, String)| {
            let name_ok = !name.is_empty() && name != "auth" && name.bytes().all(|b| b.is_ascii_alphabetic());
            name_ok && !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b))
        };
        match pairs.iter().all(legal) {
            true => Ok(pairs),
            false => Err(complaint(value)),
        }
    }

    fn absent(&self) -> Option<Self::Value> {
        Some(Vec::new())
    }
}
