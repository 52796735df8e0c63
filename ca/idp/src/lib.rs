//! What identity providers and directories send to the authority, read strictly: JSON Web Tokens and the keys that sign
//! them, the answers of an OpenID provider, SCIM.
//!
//! Pure: bytes and the moment go in, values or named flaws come out; no I/O, no clock, no randomness. The authority alone
//! uses it; it is a package of its own so that fuzz targets reach it and agents and people's programs never carry it.
//!
//! | file | what it reads | source |
//! |---|---|---|
//! | [`json`] | JSON in which no object names a member twice | RFC 8259, 7515 §4 |
//! | [`jwk`] | sets of public keys | RFC 7517, 7518 §6, 8037 |
//! | [`jws`] | signed tokens | RFC 7515, 8725 |
//! | [`claims`] | what a token says, and whether that is for us, now | RFC 7519, `OpenID Connect` Core §3.1.3.7 |
//! | [`provider`] | a provider's description and its answers | `OpenID Connect` Discovery, RFC 6749, 8628, 7636 |
//! | [`scim`] | users, groups, filters, patches | RFC 7643, 7644 |

pub mod claims;
pub mod json;
pub mod jwk;
pub mod jws;
pub mod provider;
pub mod scim;
