//! `pam_curfew.so`: the hook at login. It carries one question to `curfew-agent` and its answer back, and decides nothing.
//!
//! sshd loads this into the root process that watches over one connection. So: no threads, no child processes, no
//! environment but PAM's, two seconds at most, and a panic becomes a refusal instead of sshd's end. It must be the
//! **first** `account` line and the **first** `session` line: modules further down (`pam_env user_readenv=1`) may put
//! what the user wrote in place of what sshd said.
//!
//! Arguments, on a line that only root can write: `agent_down=refuse` (default) or `agent_down=outside`, and
//! `socket=PATH`. An argument that is not understood refuses every login and says so in the log.
//!
//! Source: `pam_sm_acct_mgmt(3)`, `pam_sm_open_session(3)`, `pam_sm_close_session(3)`.
#![expect(
    unsafe_code,
    reason = "PAM is a C interface; this file and nothing else of the module speaks it"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;

mod argument;
mod verdict;
mod word;

use argument::{AgentDown, Arguments};
use verdict::{Phase, Verdict};
use wire::gate::{Login, Question};
use wire::octets::Octets;
use word::Door;

#[cfg(all(panic = "abort", not(test)))]
compile_error!(
    "build curfew-pam with panic = \"unwind\": an abort would take sshd's process with it"
);

/// May this login go on? Called by sshd after the key is proved and before the client is told.
///
/// # Safety
/// Called by PAM with a live handle and `argc` arguments in `argv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_acct_mgmt(
    handle: *mut PamHandle,
    _flags: c_int,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: as PAM promises our caller.
    let pam = unsafe { Pam::new(handle) };
    guarded(&pam, PAM_PERM_DENIED, || {
        // SAFETY: as PAM promises our caller.
        let words = unsafe { words(argc, argv) };
        let verdict = match Arguments::parse(&words) {
            Err(error) => Verdict::broken(&error.to_string()),
            Ok(arguments) => {
                let login = pam.login();
                let is_door = arguments.door.as_ref().is_some_and(|door| door.is_for(&login.user));
                let answer = ask::ask(&arguments.gate_path, &Question::Account(login));
                // Which certificate opens the account is known, and checked, when the session opens.
                let agent_down = if is_door { AgentDown::Outside } else { arguments.agent_down };
                verdict::decide(Phase::Account, answer, agent_down)
            }
        };
        pam.conclude(&verdict, PAM_PERM_DENIED)
    })
}

/// Tag me: called by sshd in the process that all of the connection will descend from.
///
/// # Safety
/// Called by PAM with a live handle and `argc` arguments in `argv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_open_session(
    handle: *mut PamHandle,
    _flags: c_int,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: as PAM promises our caller.
    let pam = unsafe { Pam::new(handle) };
    guarded(&pam, PAM_SESSION_ERR, || {
        // SAFETY: as PAM promises our caller.
        let words = unsafe { words(argc, argv) };
        let verdict = match Arguments::parse(&words) {
            Err(error) => Verdict::broken(&error.to_string()),
            Ok(arguments) => open(&pam, &arguments),
        };
        pam.conclude(&verdict, PAM_SESSION_ERR)
    })
}

/// The connection ended. Best effort: the agent learns it from the kernel as well.
///
/// # Safety
/// Called by PAM with a live handle and `argc` arguments in `argv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_close_session(
    handle: *mut PamHandle,
    _flags: c_int,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: as PAM promises our caller.
    let pam = unsafe { Pam::new(handle) };
    guarded(&pam, PAM_SESSION_ERR, || {
        if !pam.is_ours() {
            return PAM_IGNORE;
        }
        // SAFETY: as PAM promises our caller.
        let words = unsafe { words(argc, argv) };
        match Arguments::parse(&words) {
            Err(error) => pam.log(LOG_ERR, &error.to_string()),
            Ok(arguments) => {
                if let Err(error) = ask::ask(&arguments.gate_path, &Question::Close) {
                    pam.log(
                        LOG_WARNING,
                        &format!("the session's end was not told: {}", verdict::chain(&error)),
                    );
                }
            }
        }
        PAM_SUCCESS
    })
}

fn open(pam: &Pam, arguments: &Arguments) -> Verdict {
    let auth_info = pam.environment(c"SSH_AUTH_INFO_0");
    if let Some(door) = arguments.door.as_ref().filter(|door| door.is_for(&pam.login().user)) {
        return open_door(pam, arguments, (door, auth_info));
    }
    let agent_down = if verdict::names_a_certificate(&auth_info) {
        AgentDown::Refuse
    } else {
        arguments.agent_down
    };
    let question = Question::Open { login: pam.login(), auth_info: Octets::new(auth_info) };
    let verdict =
        verdict::decide(Phase::Session, ask::ask(&arguments.gate_path, &question), agent_down);
    if matches!(verdict, Verdict::Permit) && !pam.keep() {
        return Verdict::broken("PAM could not keep the session's mark");
    }
    verdict
}

/// The account that break-glass opens: the agent decides; when it does not answer, the certificate alone does.
fn open_door(pam: &Pam, arguments: &Arguments, (door, auth_info): (&Door, Vec<u8>)) -> Verdict {
    let question = Question::Open { login: pam.login(), auth_info: Octets::new(auth_info.clone()) };
    let answer = ask::ask(&arguments.gate_path, &question);
    let verdict = verdict::decide(Phase::Session, answer, AgentDown::Outside);
    match verdict {
        Verdict::Permit if !pam.keep() => Verdict::broken("PAM could not keep the session's mark"),
        Verdict::Unasked { .. } => {
            let opened = door.opens(&auth_info, Path::new(wire::breakglass::KEYS_PATH));
            verdict::unasked(opened, || word::leave(word::folder(), pam.login(), &auth_info))
        }
        // The agent has no opinion of an account that nothing else may open.
        Verdict::Outside => Verdict::broken("the break-glass account is not the agent's"),
        other => other,
    }
}

/// Runs `body`; a panic is the answer `refusal`.
fn guarded(pam: &Pam, refusal: c_int, body: impl FnOnce() -> c_int) -> c_int {
    let Ok(code) = catch_unwind(AssertUnwindSafe(body)) else {
        let logged = catch_unwind(AssertUnwindSafe(|| {
            pam.log(LOG_ALERT, "pam_curfew.so broke (a fault of Curfew's); the login is refused");
        }));
        // A second panic leaves nothing that could still be said; the refusal stands.
        drop(logged);
        return refusal;
    };
    code
}

/// The arguments on the module's line.
///
/// # Safety
/// `argv` holds `argc` strings that end in NUL.
unsafe fn words(argc: c_int, argv: *const *const c_char) -> Vec<Vec<u8>> {
    let count = usize::try_from(argc).unwrap_or(0);
    (0..count)
        .map(|index| {
            // SAFETY: index < argc, so this is one of PAM's pointers.
            let word = unsafe { argv.wrapping_add(index).read() };
            // SAFETY: PAM's strings end in NUL.
            unsafe { bytes(word) }
        })
        .collect()
}

/// The bytes of a C string; none for a null pointer.
///
/// # Safety
/// `text` is null or ends in NUL, and lives as long as this call.
unsafe fn bytes(text: *const c_char) -> Vec<u8> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: not null, and ends in NUL as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

/// One PAM transaction, for the length of one call.
struct Pam(*mut PamHandle);

impl Pam {
    /// # Safety
    /// `handle` is live until the value is dropped.
    const unsafe fn new(handle: *mut PamHandle) -> Self {
        Self(handle)
    }

    fn login(&self) -> Login {
        Login {
            user: Octets::new(self.item(PAM_USER)),
            remote: Octets::new(self.item(PAM_RHOST)),
            service: Octets::new(self.item(PAM_SERVICE)),
        }
    }

    /// One of PAM's text items; empty when it is not set.
    fn item(&self, kind: c_int) -> Vec<u8> {
        let mut value: *const c_void = ptr::null();
        // SAFETY: the handle is live; PAM writes one pointer to memory of its own.
        let code = unsafe { pam_get_item(self.0, kind, &raw mut value) };
        if code != PAM_SUCCESS {
            return Vec::new();
        }
        // SAFETY: the three items we ask for are strings that end in NUL, or null.
        unsafe { bytes(value.cast()) }
    }

    /// A variable of PAM's environment, which is not the process's; empty when it is not set.
    fn environment(&self, name: &CStr) -> Vec<u8> {
        // SAFETY: the handle is live, the name ends in NUL.
        let value = unsafe { pam_getenv(self.0, name.as_ptr()) };
        // SAFETY: a string in PAM's memory that ends in NUL, or null.
        unsafe { bytes(value) }
    }

    /// Remembers in PAM's memory, not in the environment, that the agent tagged this connection.
    fn keep(&self) -> bool {
        let mark = ptr::from_ref(MARK).cast_mut().cast::<c_void>();
        // SAFETY: the handle is live; the mark is static, never written through and never freed (no clean-up function).
        let code = unsafe { pam_set_data(self.0, MARK.as_ptr(), mark, None) };
        code == PAM_SUCCESS
    }

    /// Whether the agent tagged this connection.
    fn is_ours(&self) -> bool {
        let mut value: *const c_void = ptr::null();
        // SAFETY: the handle is live; PAM writes one pointer.
        let code = unsafe { pam_get_data(self.0, MARK.as_ptr(), &raw mut value) };
        code == PAM_SUCCESS && !value.is_null()
    }

    /// Says what has to be said, in the log and to the user, and gives PAM's code.
    fn conclude(&self, verdict: &Verdict, refusal: c_int) -> c_int {
        match verdict {
            Verdict::Permit => PAM_SUCCESS,
            Verdict::Outside => PAM_IGNORE,
            Verdict::Unasked { log } => {
                self.log(LOG_ALERT, log);
                PAM_IGNORE
            }
            Verdict::Refuse { line, log } => {
                if let Some(log) = log {
                    self.log(LOG_ALERT, log);
                }
                self.tell(line);
                refusal
            }
        }
    }

    fn log(&self, priority: c_int, line: &str) {
        let line = c_line(line);
        // SAFETY: the handle is live; one %s and one string that ends in NUL.
        unsafe { pam_syslog(self.0, priority, c"%s".as_ptr(), line.as_ptr()) };
    }

    /// Shows one line to who is logging in; sshd sends it as a banner. A client that cannot be told is refused all the same.
    fn tell(&self, line: &str) {
        let line = c_line(line);
        // SAFETY: the handle is live; an error message has no response; one %s and one string that ends in NUL.
        let code = unsafe {
            pam_prompt(self.0, PAM_ERROR_MSG, ptr::null_mut(), c"%s".as_ptr(), line.as_ptr())
        };
        if code != PAM_SUCCESS {
            self.log(LOG_WARNING, "the client could not be told why it is refused");
        }
    }
}

/// `line` as C wants it.
fn c_line(line: &str) -> CString {
    CString::new(verdict::plain(line)).unwrap_or_default()
}

/// PAM's transaction, opaque to us.
#[repr(C)]
#[derive(Debug)]
pub struct PamHandle {
    _opaque: [u8; 0],
}

/// How PAM frees what it keeps for us.
type CleanUp = unsafe extern "C" fn(*mut PamHandle, *mut c_void, c_int);

// By file name, so that building needs libpam itself and not its development package.
#[link(name = "libpam.so.0", kind = "dylib", modifiers = "+verbatim")]
unsafe extern "C" {
    fn pam_get_item(handle: *const PamHandle, kind: c_int, value: *mut *const c_void) -> c_int;
    fn pam_getenv(handle: *mut PamHandle, name: *const c_char) -> *const c_char;
    fn pam_set_data(
        handle: *mut PamHandle,
        name: *const c_char,
        value: *mut c_void,
        clean_up: Option<CleanUp>,
    ) -> c_int;
    fn pam_get_data(
        handle: *const PamHandle,
        name: *const c_char,
        value: *mut *const c_void,
    ) -> c_int;
    fn pam_syslog(handle: *const PamHandle, priority: c_int, format: *const c_char, ...);
    fn pam_prompt(
        handle: *mut PamHandle,
        style: c_int,
        response: *mut *mut c_char,
        format: *const c_char,
        ...
    ) -> c_int;
}

// `_pam_types.h` and `syslog.h` of Linux.
const PAM_SUCCESS: c_int = 0;
const PAM_PERM_DENIED: c_int = 6;
const PAM_SESSION_ERR: c_int = 14;
const PAM_IGNORE: c_int = 25;
const PAM_SERVICE: c_int = 1;
const PAM_USER: c_int = 2;
const PAM_RHOST: c_int = 4;
const PAM_ERROR_MSG: c_int = 3;
const LOG_ALERT: c_int = 1;
const LOG_ERR: c_int = 3;
const LOG_WARNING: c_int = 4;
/// The name under which PAM keeps our mark.
const MARK: &CStr = c"curfew_session";
