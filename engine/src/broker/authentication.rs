//! When a cluster's links log in, and what becomes of it.
//!
//! Left out: what each login begins with ([`super::login`]), and the steps of one ([`super::link`]).

use super::link::{Unanswered, Welcome};
use super::{Cluster, Place};
use crate::clock::Mono;
use crate::shard::control::Level;
use crate::shard::io::{Io, LoginAnswer};

/// How an error of the library begins, behind the name of the broker.
const LIBRARY_FAILED: &str = "authentication with GSSAPI";

/// How often brokers and we have met, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Logins {
    /// Brokers accepted us.
    pub succeeded: u64,
    /// They did not, or could not prove who they are.
    pub failed: u64,
}

impl std::ops::AddAssign for Logins {
    fn add_assign(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
    }
}

impl Cluster {
    /// A new token of the authorization server, or why there is none any more.
    pub fn set_token(&mut self, token: Result<kafka::sasl::Secret, String>) {
        if let Err(why) = &token {
            self.last_error = Some(why.clone());
        }
        self.login.set_token(token);
    }

    /// How often brokers and we have met.
    pub fn logins(&self) -> Logins {
        self.logins
    }

    /// Logs in again on the links whose logins end soon.
    pub(super) fn log_in_again(&mut self, now: Mono, io: &mut impl Io) {
        let links = self.brokers.iter_mut().flat_map(|broker| &mut broker.links);
        for link in links.chain([&mut self.control]) {
            if link.login_at().is_some_and(|at| at <= now) {
                match self.login.is_outside() {
                    true => link.prepare_login(io),
                    false => link.log_in_again(now, self.login.exchange(), io),
                }
            }
        }
    }

    pub(super) fn on_welcome(&mut self, welcome: Welcome) {
        self.logins.succeeded += u64::from(welcome.logged_in);
        self.login.learn(welcome.salted);
        self.start.succeed();
        self.forget_error();
    }

    /// Broker and we do not trust each other. The next try comes after the usual pause.
    pub(super) fn on_refused(&mut self, place: Place, fault: &kafka::sasl::Fault, io: &mut impl Io) {
        self.on_login_failed(place, &format!("{fault}; {}", self.login.remedy()));
        self.at(place).close(io);
    }

    /// The library has found what to say, or has not.
    pub(super) fn on_answer(&mut self, now: Mono, place: Place, answer: Result<LoginAnswer, String>, io: &mut impl Io) {
        let (answer, why) = match answer {
            Ok(answer) => (Some(answer), String::new()),
            Err(why) => (None, why),
        };
        let Err(unanswered) = self.at(place).on_answer(now, answer, io) else { return };
        self.on_login_failed(place, &format!("{LIBRARY_FAILED}: {why}"));
        if unanswered == Unanswered::Lost {
            self.at(place).close(io);
        }
    }

    /// A link was given up because the library has not said what to log in with.
    pub(super) fn on_library_silent(&mut self) {
        self.logins.failed += 1;
        // What it has said before is more than that it is silent.
        if self.last_error.as_ref().is_none_or(|last| !last.contains(LIBRARY_FAILED)) {
            let limit_ms = self.settings.terms.patience.connect_timeout_ms;
            let why = format!(
                "{LIBRARY_FAILED}: the Kerberos library has not said within {limit_ms} ms (connect_timeout) what to log in \
                 with; check that the KDC of krb5.conf can be reached"
            );
            self.last_error = Some(why.clone());
            self.note(Level::Error, why);
        }
    }

    /// Says why, once, however many links it is true of.
    fn on_login_failed(&mut self, place: Place, why: &str) {
        self.logins.failed += 1;
        if self.last_error.as_ref().is_none_or(|last| !last.ends_with(why)) {
            let text = format!("{}: {why}", self.name_of(place));
            self.last_error = Some(text.clone());
            self.note(Level::Error, text);
        }
    }
}
