//! What stands for the library in a build without it: a login cannot begin. Configurations that want one have been refused.

use std::convert::Infallible;

use super::{Failure, Identity};
use crate::config::KERBEROS_REMEDY;
use crate::shard::io::LoginAnswer;

/// A login that there is none of.
#[derive(Debug)]
pub struct Login(Infallible);

impl Login {
    /// # Errors
    /// Always.
    pub fn begin(_: &Identity, _: &str, _: &str) -> Result<(Self, Vec<u8>), Failure> {
        Err(absent())
    }

    /// # Errors
    /// Never, as there is no login.
    pub fn answer(&mut self, _: &[u8]) -> Result<LoginAnswer, String> {
        match self.0 {}
    }
}

pub(super) fn fetch_ticket(_: &Identity, _: &str) -> Result<(), Failure> {
    Err(absent())
}

fn absent() -> Failure {
    Failure { why: format!("this build has no Kerberos; {KERBEROS_REMEDY}"), for_all: true, has_ended: false }
}
