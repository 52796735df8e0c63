//! A security key in software: what OpenSSH loads as its `SecurityKeyProvider`, so that tests enrol, sign and log in
//! with the real `ssh-keygen`, `ssh-agent`, `ssh` and `sshd`. It protects nothing: the "key handle" that it gives out
//! is the private key itself. Never installed, and no program of ours loads it.
//!
//! It does what it is asked, unless `CURFEW_TEST_SK` says what its signatures shall claim: any of `touched` and
//! `verified`, parted by commas, or nothing: a key that nobody touched, or a liar.
//!
//! Source: OpenSSH's `sk-api.h` (version 0x000a0000, OpenSSH 9.1 and later) and PROTOCOL.u2f. What is returned belongs
//! to OpenSSH, which gives it to `free(3)`; hence `malloc`.
#![expect(unsafe_code, reason = "sk-api is a C interface; this file and nothing else speaks it")]

use std::ffi::{CStr, c_char, c_int};
use std::panic::catch_unwind;
use std::ptr;

mod key;

use key::{Algorithm, Flags, Signed, Token};

/// Which form of the interface this is.
#[unsafe(no_mangle)]
pub const extern "C" fn sk_api_version() -> u32 {
    VERSION
}

/// Makes a key.
///
/// # Safety
/// Called by OpenSSH: `application` ends in a zero, `options` in a null, and `response` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sk_enroll(
    algorithm: u32,
    _challenge: *const u8,
    _challenge_len: usize,
    _application: *const c_char,
    flags: u8,
    _pin: *const c_char,
    options: *const *const SkOption,
    response: *mut *mut Enrolled,
) -> c_int {
    // SAFETY: as OpenSSH promises our caller.
    if response.is_null() || unsafe { demands_an_option(options) } {
        return UNSUPPORTED;
    }
    let Some(algorithm) = Algorithm::of(algorithm) else { return UNSUPPORTED };
    let Ok(Some(token)) = catch_unwind(|| Token::generate(algorithm)) else { return GENERAL };
    let (public_key, public_key_len) = hand_over(&token.public);
    let (key_handle, key_handle_len) = hand_over(&token.handle);
    // OpenSSH wants to see an attestation's signature, and is content with an empty one.
    let (signature, signature_len) = hand_over(&[]);
    let enrolled = Enrolled {
        flags,
        public_key,
        public_key_len,
        key_handle,
        key_handle_len,
        signature,
        signature_len,
        attestation_cert: ptr::null_mut(),
        attestation_cert_len: 0,
        authdata: ptr::null_mut(),
        authdata_len: 0,
    };
    // SAFETY: it was checked not to be null, and OpenSSH lets us write there.
    unsafe { give(response, enrolled) }
}

/// Signs with a key.
///
/// # Safety
/// Called by OpenSSH: `data` and `key_handle` are as long as it says, `application` ends in a zero, `options` in a
/// null, and `response` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sk_sign(
    algorithm: u32,
    data: *const u8,
    data_len: usize,
    application: *const c_char,
    key_handle: *const u8,
    key_handle_len: usize,
    flags: u8,
    _pin: *const c_char,
    options: *const *const SkOption,
    response: *mut *mut Signature,
) -> c_int {
    let absent = data.is_null() || application.is_null() || key_handle.is_null();
    // SAFETY: as OpenSSH promises our caller.
    if absent || response.is_null() || unsafe { demands_an_option(options) } {
        return UNSUPPORTED;
    }
    let Some(algorithm) = Algorithm::of(algorithm) else { return UNSUPPORTED };
    // SAFETY: it is not null, and as long as OpenSSH says.
    let data = unsafe { std::slice::from_raw_parts(data, data_len) };
    // SAFETY: it is not null, and as long as OpenSSH says.
    let handle = unsafe { std::slice::from_raw_parts(key_handle, key_handle_len) };
    // SAFETY: it is not null and ends in a zero.
    let application = unsafe { CStr::from_ptr(application) };
    let flags = std::env::var(CLAIMS).map_or(Flags(flags), |claims| Flags::claimed(&claims));
    let made = catch_unwind(|| key::sign(algorithm, handle, (application.to_bytes(), data), flags));
    let Ok(Some(Signed { counter, r, s })) = made else { return GENERAL };
    let (sig_r, sig_r_len) = hand_over(&r);
    let (sig_s, sig_s_len) = s.map_or((ptr::null_mut(), 0), |s| hand_over(&s));
    let signature = Signature { flags: flags.0, counter, sig_r, sig_r_len, sig_s, sig_s_len };
    // SAFETY: it was checked not to be null, and OpenSSH lets us write there.
    unsafe { give(response, signature) }
}

/// It keeps no keys, so there are none to load.
#[unsafe(no_mangle)]
pub const extern "C" fn sk_load_resident_keys(
    _pin: *const c_char,
    _options: *const *const SkOption,
    _keys: *mut *mut *mut Enrolled,
    _count: *mut usize,
) -> c_int {
    UNSUPPORTED
}

/// Whether an option is demanded; we know none.
///
/// # Safety
/// `options` is null, or a list of options that ends in a null.
unsafe fn demands_an_option(options: *const *const SkOption) -> bool {
    if options.is_null() {
        return false;
    }
    // SAFETY: the list has at least its ending null.
    let mut next = options;
    loop {
        // SAFETY: `next` is within the list, whose end was not passed yet.
        let option = unsafe { next.read() };
        // SAFETY: what is not the ending null is an option of OpenSSH's.
        let Some(option) = (unsafe { option.as_ref() }) else { return false };
        if option.required != 0 {
            return true;
        }
        // SAFETY: this was not the end, so there is another.
        next = unsafe { next.add(1) };
    }
}

/// A copy that `free(3)` can take; null when there is no memory left.
fn hand_over(bytes: &[u8]) -> (*mut u8, usize) {
    // SAFETY: any size can be asked for; one byte at least, so that empty is not null.
    let copy: *mut u8 = unsafe { libc::calloc(bytes.len().max(1), 1) }.cast();
    if copy.is_null() {
        return (copy, 0);
    }
    // SAFETY: `copy` was made long enough just now, and nobody else knows it.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len()) };
    (copy, bytes.len())
}

/// Moves `value` to memory that `free(3)` can take, and its address to `place`.
///
/// # Safety
/// `place` can be written.
unsafe fn give<T>(place: *mut *mut T, value: T) -> c_int {
    // SAFETY: any size can be asked for, and `calloc` aligns for every type.
    let memory: *mut T = unsafe { libc::calloc(1, size_of::<T>()) }.cast();
    if memory.is_null() {
        return GENERAL;
    }
    // SAFETY: `memory` was made for a `T` just now.
    unsafe { memory.write(value) };
    // SAFETY: as our caller promises.
    unsafe { place.write(memory) };
    DONE
}

/// `struct sk_enroll_response`.
#[derive(Debug)]
#[repr(C)]
pub struct Enrolled {
    flags: u8,
    public_key: *mut u8,
    public_key_len: usize,
    key_handle: *mut u8,
    key_handle_len: usize,
    signature: *mut u8,
    signature_len: usize,
    attestation_cert: *mut u8,
    attestation_cert_len: usize,
    authdata: *mut u8,
    authdata_len: usize,
}

/// `struct sk_sign_response`.
#[derive(Debug)]
#[repr(C)]
pub struct Signature {
    flags: u8,
    counter: u32,
    sig_r: *mut u8,
    sig_r_len: usize,
    sig_s: *mut u8,
    sig_s_len: usize,
}

/// `struct sk_option`.
#[derive(Debug)]
#[repr(C)]
pub struct SkOption {
    name: *const c_char,
    value: *const c_char,
    required: u8,
}

const VERSION: u32 = 0x000a_0000;
const DONE: c_int = 0;
const GENERAL: c_int = -1;
const UNSUPPORTED: c_int = -2;
/// What signatures shall claim, whatever was asked for.
const CLAIMS: &str = "CURFEW_TEST_SK";
