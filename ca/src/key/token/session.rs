//! A session with a token: found, logged in to, and opened again when it broke.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ssh_key::{HashAlg, PublicKey, Signature};

use super::TokenError;
use super::object;
use crate::config::keys::Token;
use crate::key::SignError;
use crate::key::remote::Holder;
use crate::key::secret::Secret;
use crate::random;

/// A session for one key.
pub(in crate::key) struct Session {
    token: Token,
    pin: Secret,
    public: PublicKey,
    open: Option<Open>,
    /// The token refused the PIN: it is not shown again.
    is_refused: bool,
}

/// While it is good.
struct Open {
    session: cryptoki::session::Session,
    key: ObjectHandle,
}

impl Session {
    /// For the key with this public half; nothing is opened yet.
    pub(in crate::key) const fn new(token: Token, pin: Secret, public: PublicKey) -> Self {
        Self { token, pin, public, open: None, is_refused: false }
    }

    /// Signs; a session that broke since the last time is opened again.
    fn signed(&mut self, message: &[u8]) -> Result<Signature, TokenError> {
        let (mechanism, given) =
            object::mechanism(&self.public, message).ok_or_else(|| TokenError::Unusable {
                wanted: wanted(&self.token),
                reason: "tokens do not sign with keys of this type",
            })?;
        if let Some(open) = self.open.take()
            && let Ok(raw) = open.session.sign(&mechanism, open.key, &given)
        {
            self.open = Some(open);
            return object::signature(&self.public, &raw);
        }
        let open = self.connect()?;
        let raw = open.session.sign(&mechanism, open.key, &given)?;
        self.open = Some(open);
        object::signature(&self.public, &raw)
    }

    fn connect(&mut self) -> Result<Open, TokenError> {
        if self.is_refused {
            let token = name(&self.token);
            return Err(TokenError::Pin { token, reason: "it did so before" });
        }
        let (session, keys) = log_in(&self.token, &self.pin, false).inspect_err(|error| {
            self.is_refused = matches!(error, TokenError::Pin { .. });
        })?;
        let found = keys.into_iter().find(|(_, key)| key.key_data() == self.public.key_data());
        match found {
            Some((key, _)) => Ok(Open { session, key }),
            None => {
                let print = self.public.fingerprint(HashAlg::Sha256);
                let wanted = format!("{} that is {print}", wanted(&self.token));
                Err(TokenError::NoKey { token: name(&self.token), wanted })
            }
        }
    }
}

impl Holder for Session {
    fn sign(&mut self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(self.signed(message)?)
    }
}

/// The public half of the one key that the settings name; made on the token if there is none.
pub(in crate::key) fn obtain(token: &Token, pin: &Secret) -> Result<PublicKey, TokenError> {
    let (_, keys) = log_in(token, pin, false)?;
    match keys.as_slice() {
        [(_, key)] => Ok(key.clone()),
        [] => make(token, pin),
        several => Err(TokenError::Several {
            token: name(token),
            wanted: wanted(token),
            count: several.len(),
        }),
    }
}

fn make(token: &Token, pin: &Secret) -> Result<PublicKey, TokenError> {
    let (session, _) = log_in(token, pin, true)?;
    let id = match &token.id {
        Some(id) => id.clone(),
        None => {
            random::bytes::<16>().map_err(|none| TokenError::Signature(none.to_string()))?.into()
        }
    };
    let mut both = vec![Attribute::Token(true), Attribute::Id(id)];
    both.extend(token.label.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    let (mechanism, mut public) = object::making(token.kind);
    public.extend(both.iter().cloned().chain([Attribute::Verify(true)]));
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    let private: Vec<Attribute> = both.into_iter().chain(private).collect();
    session.generate_key_pair(&mechanism, &public, &private)?;
    match keys(&session, token)?.as_slice() {
        [(_, key)] => Ok(key.clone()),
        _ => Err(TokenError::NoKey { token: name(token), wanted: wanted(token) }),
    }
}

type Keys = Vec<(ObjectHandle, PublicKey)>;

fn log_in(
    token: &Token,
    pin: &Secret,
    writes: bool,
) -> Result<(cryptoki::session::Session, Keys), TokenError> {
    let context = module(&token.module)?;
    let slot = find(&context, token)?;
    let session =
        if writes { context.open_rw_session(slot)? } else { context.open_ro_session(slot)? };
    let refused = |reason| TokenError::Pin { token: name(token), reason };
    match session.login(UserType::User, Some(&AuthPin::from(pin.reveal()))) {
        // Another key of ours may be logged in to the same token: a login is the program's, not the session's.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => {
            return Err(refused("it is wrong"));
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => return Err(refused("it is locked")),
        Err(Error::Pkcs11(RvError::PinExpired, _)) => return Err(refused("it has expired")),
        Err(error) => return Err(error.into()),
    }
    let keys = keys(&session, token)?;
    Ok((session, keys))
}

/// The private keys that the settings name, with their public halves.
fn keys(session: &cryptoki::session::Session, token: &Token) -> Result<Keys, TokenError> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    template.extend(token.label.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
    template.extend(token.id.as_ref().map(|id| Attribute::Id(id.clone())));
    let mut keys = Vec::new();
    for handle in session.find_objects(&template)? {
        let id = session.get_attributes(handle, &[AttributeType::Id])?;
        let halves = [vec![Attribute::Class(ObjectClass::PUBLIC_KEY)], id].concat();
        let public = session.find_objects(&halves)?;
        // Some tokens keep no public half; an RSA key's private half says it as well.
        let described = public.first().copied().unwrap_or(handle);
        let said = session.get_attributes(described, &PUBLIC)?;
        match object::public(&said) {
            Some(key) => keys.push((handle, key)),
            None => {
                return Err(TokenError::Unusable {
                    wanted: wanted(token),
                    reason: "its public half is missing, or of a kind that SSH has no name for",
                });
            }
        }
    }
    Ok(keys)
}

fn find(context: &Pkcs11, token: &Token) -> Result<Slot, TokenError> {
    let mut present = Vec::new();
    for slot in context.get_slots_with_token()? {
        // A slot whose token is just being taken out says so; it is not the one.
        let Ok(info) = context.get_token_info(slot) else { continue };
        let fits = |wanted: &Option<String>, said: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == said.trim_end())
        };
        if fits(&token.token, info.label()) && fits(&token.serial, info.serial_number()) {
            return Ok(slot);
        }
        if info.token_initialized() {
            present.push(format!("{:?}", info.label().trim_end()));
        }
    }
    let present = if present.is_empty() { "none".into() } else { present.join(", ") };
    Err(TokenError::NoToken { module: token.module.clone(), wanted: name(token), present })
}

/// The module, loaded once for the program: a second `C_Initialize` would be an error.
fn module(path: &Path) -> Result<Pkcs11, TokenError> {
    let failed = |reason: String| TokenError::Module { module: path.into(), reason };
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(context) = modules.get(path) {
        return Ok(context.clone());
    }
    let seen = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    let ours = rustix::process::geteuid().as_raw();
    if seen.mode() & 0o022 != 0 || (seen.uid() != 0 && seen.uid() != ours) {
        return Err(failed("others can change it; it must belong to root, with mode 0644".into()));
    }
    let context = Pkcs11::new(path).map_err(|error| failed(error.to_string()))?;
    let args = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    match context.initialize(args) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(failed(error.to_string())),
    }
    modules.insert(path.into(), context.clone());
    Ok(context)
}

fn name(token: &Token) -> String {
    match (&token.token, &token.serial) {
        (Some(label), _) => format!("{label:?}"),
        (None, Some(serial)) => format!("with the serial {serial:?}"),
        (None, None) => "of any name".into(),
    }
}

fn wanted(token: &Token) -> String {
    let id = token.id.as_ref().map(|id| {
        let digits: Vec<String> = id.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("with the id {}", digits.concat())
    });
    let label = token.label.as_ref().map(|label| format!("{label:?}"));
    label.into_iter().chain(id).collect::<Vec<_>>().join(" ")
}

static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
/// What describes a public key.
const PUBLIC: [AttributeType; 5] = [
    AttributeType::KeyType,
    AttributeType::EcParams,
    AttributeType::EcPoint,
    AttributeType::Modulus,
    AttributeType::PublicExponent,
];
