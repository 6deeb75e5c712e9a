//! Credentials from a keytab and a cache that are named.
//!
//! `libgssapi` takes both from the environment only, which all threads share and which cannot be changed safely; so the call that
//! takes them as arguments is made here, by hand.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use libgssapi::credential::Cred;
use libgssapi::error::{Error, MajorFlags};
use libgssapi_sys::{
    GSS_C_INITIATE, GSS_S_COMPLETE, OM_uint32, gss_OID_desc, gss_OID_set_desc, gss_acquire_cred_from, gss_buffer_desc,
    gss_cred_usage_t, gss_import_name, gss_key_value_element_desc, gss_key_value_set_desc, gss_name_t,
    gss_release_name,
};

/// 1.2.840.113554.1.2.2, the mechanism.
const KRB5: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// 1.2.840.113554.1.2.2.1, the form of its names.
const KRB5_PRINCIPAL: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01";
/// As long as there may be.
const INDEFINITE: OM_uint32 = OM_uint32::MAX;

/// A name, until it goes.
struct Principal(gss_name_t);

impl Drop for Principal {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the name came from gss_import_name, and is released once.
        unsafe { gss_release_name(&mut minor, &mut self.0) };
    }
}

/// Has a ticket of `principal` in `cache`, fetched with the key in `keytab` if it is not there or half of its life is over.
pub(super) fn acquire(principal: &str, keytab: &Path, cache: &str) -> Result<Cred, Error> {
    let name = import(principal)?;
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Error { major: MajorFlags::GSS_S_BAD_NAME, minor: 0 });
    let keytab = text(&[b"FILE:", keytab.as_os_str().as_bytes()].concat())?;
    let cache = text(cache.as_bytes())?;
    let mut places = [
        gss_key_value_element_desc { key: c"client_keytab".as_ptr(), value: keytab.as_ptr() },
        gss_key_value_element_desc { key: c"ccache".as_ptr(), value: cache.as_ptr() },
    ];
    let store = gss_key_value_set_desc { count: places.len() as OM_uint32, elements: places.as_mut_ptr() };
    let mut mechanism = oid(KRB5);
    let mut mechanisms = gss_OID_set_desc { count: 1, elements: &mut mechanism };
    let (mut minor, mut credential) = (0, ptr::null_mut());
    // SAFETY: every pointer is to a value of this frame that outlives the call, or null where the call allows it; the library
    // copies what it keeps.
    let major = unsafe {
        gss_acquire_cred_from(
            &mut minor,
            name.0,
            INDEFINITE,
            &mut mechanisms,
            GSS_C_INITIATE as gss_cred_usage_t,
            &store,
            &mut credential,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if major != GSS_S_COMPLETE {
        return Err(Error { major: MajorFlags::from_bits_retain(major), minor });
    }
    // SAFETY: the credential is new, and nobody else has it.
    Ok(unsafe { Cred::from_c(credential) })
}

fn import(principal: &str) -> Result<Principal, Error> {
    // The library only reads what these point to.
    let mut text = gss_buffer_desc { length: principal.len() as _, value: principal.as_ptr().cast_mut().cast() };
    let mut form = oid(KRB5_PRINCIPAL);
    let (mut minor, mut name) = (0, ptr::null_mut());
    // SAFETY: every pointer is to a value of this frame that outlives the call; the library copies what it keeps.
    let major = unsafe { gss_import_name(&mut minor, &mut text, &mut form, &mut name) };
    if major != GSS_S_COMPLETE {
        return Err(Error { major: MajorFlags::from_bits_retain(major), minor });
    }
    Ok(Principal(name))
}

fn oid(bytes: &'static [u8]) -> gss_OID_desc {
    gss_OID_desc { length: bytes.len() as OM_uint32, elements: bytes.as_ptr().cast_mut().cast() }
}
