//! What an ssh-agent answers to the authority: any bytes are a list of plain keys, one signature, a no, or refused; and a
//! signature among them is believed by the key that made it alone.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../ca/src/key/agent/reply.rs"]
#[expect(dead_code, reason = "the program uses all of it, the target a part")]
mod reply;

fuzz_target!(|input: &[u8]| {
    let public = curfew_fuzz::key(1).public_key().clone();
    match reply::Reply::read(input) {
        Ok(reply::Reply::Identities(keys)) => {
            for key in keys {
                assert!(!key.is_certificate());
                reply::sign_request(&key, b"message").expect("what was read can be asked for");
            }
        }
        Ok(reply::Reply::Signature(signature)) => {
            assert!(wire::signature::verify(public.key_data(), input, &signature).is_err());
        }
        Ok(reply::Reply::Failure) | Err(_) => {}
    }
});
