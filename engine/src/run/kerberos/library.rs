//! The system's Kerberos library, by way of GSSAPI.

mod credentials;

use std::fs::File;

use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext as _};
use libgssapi::credential::Cred;
use libgssapi::error::Error;
use libgssapi::name::Name;
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_HOSTBASED_SERVICE};

use super::failure::{self, Trouble};
use super::{Failure, Identity};
use crate::shard::io::LoginAnswer;

/// One login under way.
#[derive(Debug)]
pub struct Login {
    context: ClientCtx,
    /// Both sides know each other; what is left is the choice of a layer.
    is_known: bool,
}

impl Login {
    /// The first words to the broker `host`, with tickets from the cache of this name or else from the KDC. May wait for files and
    /// servers, each for as long as the library thinks right.
    ///
    /// # Errors
    /// What, where, why and what to do.
    pub fn begin(identity: &Identity, cache: &str, host: &str) -> Result<(Self, Vec<u8>), Failure> {
        let credential = acquire(identity, cache)?;
        let service = format!("{}@{host}", identity.service_name);
        let failed = |error| failure::of_service(&trouble(&error), &identity.service_name, host);
        let name = Name::new(service.as_bytes(), Some(GSS_NT_HOSTBASED_SERVICE)).map_err(failed)?;
        // The broker proves itself as well, and the choice of a layer is signed.
        let flags = CtxFlags::GSS_C_MUTUAL_FLAG | CtxFlags::GSS_C_INTEG_FLAG;
        let mut context = ClientCtx::new(Some(credential), name, flags, Some(GSS_MECH_KRB5));
        let token = context.step(None, None).map_err(failed)?;
        let is_known = context.is_complete();
        Ok((Self { context, is_known }, token.map(|token| token.to_vec()).unwrap_or_default()))
    }

    /// What to say to a challenge. Asks nobody.
    ///
    /// # Errors
    /// What the broker does wrong.
    pub fn answer(&mut self, challenge: &[u8]) -> Result<LoginAnswer, String> {
        if self.is_known {
            return self.choose_layer(challenge);
        }
        if challenge.is_empty() {
            return Err("the broker let us in without proving who it is".to_string());
        }
        let token = self.context.step(Some(challenge), None).map_err(|error| failure::of_broker(&trouble(&error)))?;
        self.is_known = self.context.is_complete();
        // Without a token to give we say nothing, so that the broker goes on.
        Ok(LoginAnswer { bytes: token.map(|token| token.to_vec()).unwrap_or_default(), last: false })
    }

    fn choose_layer(&mut self, challenge: &[u8]) -> Result<LoginAnswer, String> {
        let failed = |error| failure::of_broker(&trouble(&error));
        let offer = self.context.unwrap(challenge).map_err(failed)?;
        let choice = kafka::sasl::gssapi::choose_layer(&offer)?;
        let wrapped = self.context.wrap(false, &choice).map_err(failed)?;
        Ok(LoginAnswer { bytes: wrapped.to_vec(), last: true })
    }
}

/// Has a ticket in the cache of this name.
pub(super) fn fetch_ticket(identity: &Identity, cache: &str) -> Result<(), Failure> {
    acquire(identity, cache).map(drop)
}

fn acquire(identity: &Identity, cache: &str) -> Result<Cred, Failure> {
    let Identity { principal, keytab_file, .. } = identity;
    let keytab = keytab_file.display().to_string();
    // The library says no more than that it has found nothing.
    File::open(keytab_file).map_err(|error| failure::of_file(&keytab, &error))?;
    credentials::acquire(principal, keytab_file, cache)
        .map_err(|error| failure::of_ticket(&trouble(&error), principal, &keytab))
}

/// The library's words have to be asked for on the thread that it failed on.
fn trouble(error: &Error) -> Trouble {
    Trouble::new(error.minor, &error.to_string())
}
