//! SCRAM (RFC 5802, RFC 7677) with SHA-256 or SHA-512: both sides prove that they know the password, and none sends it.
//!
//! ```text
//! client first   n,,n=USER,r=NONCE
//! server first   r=NONCE+THEIRS,s=SALT,i=ITERATIONS
//! client final   c=biws,r=NONCE+THEIRS,p=PROOF         biws = base64("n,,"): no channel binding
//! server final   v=SIGNATURE, or e=ERROR
//!
//! salted = PBKDF2(password, salt, iterations)          kept: it costs thousands of hashes and changes with the password only
//! client key = HMAC(salted, "Client Key")              proof = client key xor HMAC(H(client key), auth message)
//! server key = HMAC(salted, "Server Key")              signature = HMAC(server key, auth message)
//! ```
//!
//! The password is hashed as it is written. Kafka does so too, where the standard would have it normalised with SASLprep;
//! a password that SASLprep changes could not log in otherwise.
//!
//! Left out: channel binding (Kafka has none), delegation tokens.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

use super::{Fault, Mechanism, Secret, Step};
use crate::ErrorCode;

/// The fewest iterations taken from a broker: RFC 7677, section 4. Fewer would help somebody who plays the broker and
/// tries passwords against our proof.
pub const ITERATIONS_MIN: u32 = 4096;
/// The most iterations, four times what Kafka lets an administrator set: they are computed where others wait.
pub const ITERATIONS_MAX: u32 = 65_536;
/// Longest message of a broker; Kafka's have some 150 bytes.
const MESSAGE_BYTES_MAX: usize = 4096;
/// The header of a client without channel binding, and that header in base64.
const GS2_HEADER: &str = "n,,";
const GS2_HEADER_BASE64: &str = "biws";

/// Which hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// The expensive part of a password, for one salt. As good as the password itself, so no `Debug` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Salted {
    salt: Vec<u8>,
    iterations: u32,
    key: Vec<u8>,
}

impl fmt::Debug for Salted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salted").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// Nonces nobody can guess, from a key that nobody knows.
pub struct Nonces {
    key: [u8; 32],
    count: u64,
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Nonces {
    /// The nonces of `key`, from `first` on. With one key no two may count the same numbers.
    pub fn new(key: [u8; 32], first: u64) -> Self {
        Self { key, count: first }
    }

    /// A new nonce: 144 bits in base64, which has no comma.
    pub fn draw(&mut self) -> String {
        self.count += 1;
        let digest = Sha256::new().chain_update(self.key).chain_update(self.count.to_be_bytes()).finalize();
        BASE64.encode(digest.get(..18).unwrap_or_default())
    }
}

/// One authentication.
#[derive(Debug)]
pub struct Scram {
    hash: Hash,
    username: String,
    password: Secret,
    nonce: String,
    salted: Option<Salted>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The first message is out.
    First,
    /// The proof is out; this is what the broker has to answer with.
    Proven { signature: Vec<u8> },
    /// The broker has proven itself.
    Done,
}

impl Scram {
    /// The authentication of `username`. `nonce` is printable ASCII without commas, and never used twice; `salted` is what
    /// [`Scram::salted`] gave after an earlier authentication with the same password, or nothing.
    pub fn new(
        hash: Hash,
        username: impl Into<String>,
        password: Secret,
        nonce: impl Into<String>,
        salted: Option<Salted>,
    ) -> Self {
        Self { hash, username: username.into(), password, nonce: nonce.into(), salted, state: State::First }
    }

    /// What need not be computed again as long as password and salt stay the same.
    pub fn salted(&self) -> Option<&Salted> {
        self.salted.as_ref()
    }

    pub(super) fn mechanism(&self) -> Mechanism {
        match self.hash {
            Hash::Sha256 => Mechanism::ScramSha256,
            Hash::Sha512 => Mechanism::ScramSha512,
        }
    }

    pub(super) fn client_first(&self) -> Vec<u8> {
        format!("{GS2_HEADER}{}", self.client_first_bare()).into_bytes()
    }

    fn client_first_bare(&self) -> String {
        // RFC 5802, section 5.1: these two would end the attribute.
        let username = self.username.replace('=', "=3D").replace(',', "=2C");
        format!("n={username},r={}", self.nonce)
    }

    pub(super) fn answer(&mut self, challenge: &[u8]) -> Result<Step, Fault> {
        let fault = |what| Fault::broker(self.mechanism(), what);
        if challenge.len() > MESSAGE_BYTES_MAX {
            return Err(fault("the broker's message is longer than any of the mechanism's"));
        }
        let message = std::str::from_utf8(challenge).map_err(|_| fault("the broker's message is not UTF-8"))?;
        match &self.state {
            State::First => self.prove(message).map(Step::Send),
            State::Proven { signature } => {
                verify(self.mechanism(), signature, message)?;
                self.state = State::Done;
                Ok(Step::Done)
            }
            State::Done => Err(fault("the broker goes on after its last message")),
        }
    }

    /// From the broker's first message to our last.
    fn prove(&mut self, server_first: &str) -> Result<Vec<u8>, Fault> {
        let mechanism = self.mechanism();
        let first = ServerFirst::parse(mechanism, server_first)?;
        // RFC 5802, section 5.1: a nonce that does not begin with ours was made for somebody else.
        if !first.nonce.starts_with(&self.nonce) || first.nonce.len() == self.nonce.len() {
            return Err(Fault::broker(mechanism, "the broker's nonce does not continue ours"));
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&first.iterations) {
            let what = "the broker wants fewer than 4096 or more than 65536 iterations; set the user's password anew with \
                        8192";
            return Err(Fault::broker(mechanism, what));
        }
        let known = self.salted.take();
        let known = known.filter(|known| known.salt == first.salt && known.iterations == first.iterations);
        let password = self.password.expose().as_bytes();
        let salted = known.unwrap_or_else(|| {
            let key = self.hash.derive(password, &first.salt, first.iterations);
            Salted { salt: first.salt, iterations: first.iterations, key }
        });
        let without_proof = format!("c={GS2_HEADER_BASE64},r={}", first.nonce);
        let auth = format!("{},{server_first},{without_proof}", self.client_first_bare());
        let client_key = self.hash.mac(&salted.key, b"Client Key");
        let mut proof = self.hash.mac(&self.hash.digest(&client_key), auth.as_bytes());
        proof.iter_mut().zip(&client_key).for_each(|(a, b)| *a ^= b);
        let signature = self.hash.mac(&self.hash.mac(&salted.key, b"Server Key"), auth.as_bytes());
        self.salted = Some(salted);
        self.state = State::Proven { signature };
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }
}

struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn parse(mechanism: Mechanism, message: &'a str) -> Result<Self, Fault> {
        if let Some(words) = message.strip_prefix("e=") {
            return Err(Fault::refused(mechanism, ErrorCode::SASL_AUTHENTICATION_FAILED, words));
        }
        let fault = || Fault::broker(mechanism, "the broker's first message is not of the form r=…,s=…,i=…");
        let mut parts = message.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(fault);
        let nonce = part("r=")?;
        let salt = BASE64.decode(part("s=")?).map_err(|_| fault())?;
        let iterations = part("i=")?.parse().map_err(|_| fault())?;
        Ok(Self { nonce, salt, iterations })
    }
}

/// Whether the broker knows the password too: without this, anybody could say "accepted" to any proof.
fn verify(mechanism: Mechanism, expected: &[u8], server_final: &str) -> Result<(), Fault> {
    if let Some(words) = server_final.strip_prefix("e=") {
        return Err(Fault::refused(mechanism, ErrorCode::SASL_AUTHENTICATION_FAILED, words));
    }
    let signature = server_final.split(',').next().and_then(|part| part.strip_prefix("v="));
    let signature = signature.and_then(|text| BASE64.decode(text).ok());
    match signature {
        Some(signature) if signature == expected => Ok(()),
        Some(_) => {
            let what = "the broker accepts us and cannot prove that it knows the password: it may not be the broker";
            Err(Fault::broker(mechanism, what))
        }
        None => Err(Fault::broker(mechanism, "the broker's last message is not of the form v=…")),
    }
}

impl Hash {
    fn mac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, message),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, message),
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn derive(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Self::Sha256 => {
                let mut key = vec![0; <Sha256 as Digest>::output_size()];
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut key);
                key
            }
            Self::Sha512 => {
                let mut key = vec![0; <Sha512 as Digest>::output_size()];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut key);
                key
            }
        }
    }
}

fn mac<M: Mac + hmac::digest::KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length; the error is for other constructions of this trait.
    let Ok(mut mac) = <M as Mac>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn standard(salted: Option<Salted>) -> Scram {
        Scram::new(Hash::Sha256, "user", Secret::new("pencil"), "rOprNGfwEbeRWgbNEkqO", salted)
    }

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard() {
        let mut scram = standard(None);
        assert_eq!(scram.client_first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(scram.answer(SERVER_FIRST.as_bytes()), Ok(Step::Send(expected.into())));
        assert_eq!(scram.answer(SERVER_FINAL.as_bytes()), Ok(Step::Done));
        assert!(matches!(scram.answer(b"v=x"), Err(Fault::Broker { .. })));
    }

    #[test]
    fn what_was_salted_is_used_again_and_only_for_its_salt() {
        let mut scram = standard(None);
        scram.answer(SERVER_FIRST.as_bytes()).unwrap();
        let mut wrong = scram.salted().unwrap().clone();
        wrong.key[0] ^= 1;
        let mut again = standard(Some(wrong.clone()));
        again.answer(SERVER_FIRST.as_bytes()).unwrap();
        assert_eq!(again.salted(), Some(&wrong), "it was taken as it is");
        let mut anew = standard(Some(wrong));
        anew.answer(SERVER_FIRST.replace("i=4096", "i=4097").as_bytes()).unwrap();
        assert_ne!(anew.salted().unwrap().key, again.salted().unwrap().key);
    }

    #[test]
    fn a_broker_without_the_password_is_found_out() {
        let mut scram = standard(None);
        scram.answer(SERVER_FIRST.as_bytes()).unwrap();
        let fault = scram.answer(b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap_err();
        assert!(fault.to_string().contains("may not be the broker"), "{fault}");
        let mut scram = standard(None);
        scram.answer(SERVER_FIRST.as_bytes()).unwrap();
        let fault = scram.answer(b"e=invalid-proof").unwrap_err();
        assert!(matches!(fault, Fault::Refused { .. }), "{fault:?}");
    }

    #[test]
    fn messages_of_another_form_are_refused() {
        for message in [
            "",
            "r=x",
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!!,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-1",
            "m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ] {
            assert!(standard(None).answer(message.as_bytes()).is_err(), "{message}");
        }
        assert!(standard(None).answer(&[b'r'; 5000]).is_err());
        assert!(standard(None).answer(&[0xff]).is_err());
    }

    #[test]
    fn nonces_differ_by_key_and_number() {
        let nonces = |key: u8, first| {
            let mut nonces = Nonces::new([key; 32], first);
            [nonces.draw(), nonces.draw()]
        };
        let all = [nonces(1, 0), nonces(1, 1 << 32), nonces(2, 0)].concat();
        for (i, one) in all.iter().enumerate() {
            assert_eq!(one.len(), 24);
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn names_may_hold_what_the_form_is_made_of() {
        let scram = Scram::new(Hash::Sha512, "a=b,c", Secret::new("p"), "nonce", None);
        assert_eq!(scram.client_first(), b"n,,n=a=3Db=2Cc,r=nonce");
        assert!(!format!("{scram:?}").contains("\"p\""));
    }
}
