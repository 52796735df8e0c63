//! Who else may say who somebody is: the table `[oidc]`, and the tables `[[workload]]`.
//!
//! Who can change this: root on the authority's machine. Gains: whose word lets people and jobs in, and as whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use idp::jwk::Algorithm;
use serde::Deserialize;
use toml::Spanned;
use wire::identifier::{Identity, TeamName};

use super::{ConfigError, Setting, Source, days, minutes, secs};

/// An issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issuer {
    /// Its name, letter by letter as tokens have it.
    pub(crate) name: String,
    /// By which algorithms its tokens may be signed.
    pub(crate) algorithms: BTreeSet<Algorithm>,
    /// How far clocks may be apart.
    pub(crate) skew: Duration,
    /// The roots that its https address is believed by; the system's when absent.
    pub(crate) root: Option<PathBuf>,
}

/// The identity provider of people.
#[derive(Debug, Clone)]
pub(crate) struct Oidc {
    /// Who it is.
    pub(crate) issuer: Issuer,
    /// What the authority is to it.
    pub(crate) client_id: String,
    /// The file with the authority's secret there; a public client has none.
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Where a browser comes back to; without it there is no flow in a browser.
    pub(crate) redirect_uri: Option<String>,
    /// What is asked for.
    pub(crate) scopes: Vec<String>,
    /// The claim that names a person here.
    pub(crate) name_claim: String,
    /// What stands after the @ of a name; any, where a name has none and the list is empty.
    pub(crate) domains: BTreeSet<String>,
    /// Claims that must hold these values, or lists with them.
    pub(crate) require: BTreeMap<String, String>,
    /// The claim that lists teams.
    pub(crate) teams_claim: Option<String>,
    /// What each is called here; by its own name, where there is no table.
    pub(crate) teams: Option<BTreeMap<String, TeamName>>,
    /// Whether identities come into being by logging in.
    pub(crate) create: bool,
    /// Whether an identity that an operator added can log in so.
    pub(crate) bind_existing: bool,
    /// Ways of proving who one is (`amr`) that count as a second factor.
    pub(crate) mfa_methods: BTreeSet<String>,
    /// Classes of it (`acr`) that do.
    pub(crate) mfa_classes: BTreeSet<String>,
    /// How long a login lasts.
    pub(crate) login_lifetime: Duration,
}

/// Jobs of one kind, and what they are here.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// Who issues their tokens.
    pub(crate) issuer: Issuer,
    /// For whom the tokens must be.
    pub(crate) audience: String,
    /// As whom they log in.
    pub(crate) identity: Identity,
    /// Claims that must have just these values.
    pub(crate) claims: BTreeMap<String, String>,
    /// How long a login lasts.
    pub(crate) login_lifetime: Duration,
    /// How long a token may be good for.
    pub(crate) longest_token: Duration,
}

/// `[oidc]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OidcForm {
    issuer: Spanned<String>,
    algorithms: Option<Spanned<BTreeSet<Algorithm>>>,
    skew: Option<Spanned<String>>,
    root: Option<PathBuf>,
    client_id: Spanned<String>,
    client_secret_file: Option<PathBuf>,
    redirect_uri: Option<Spanned<String>>,
    scopes: Option<Vec<String>>,
    name_claim: Option<String>,
    domains: Option<BTreeSet<String>>,
    #[serde(default)]
    require: BTreeMap<String, String>,
    teams_claim: Option<String>,
    teams: Option<BTreeMap<String, TeamName>>,
    #[serde(default)]
    create: bool,
    #[serde(default)]
    bind_existing: bool,
    #[serde(default)]
    mfa_methods: BTreeSet<String>,
    #[serde(default)]
    mfa_classes: BTreeSet<String>,
    login_lifetime: Option<Spanned<String>>,
}

/// `[[workload]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadForm {
    issuer: Spanned<String>,
    algorithms: Option<Spanned<BTreeSet<Algorithm>>>,
    skew: Option<Spanned<String>>,
    root: Option<PathBuf>,
    audience: Spanned<String>,
    identity: Identity,
    claims: BTreeMap<String, String>,
    login_lifetime: Option<Spanned<String>>,
    longest_token: Option<Spanned<String>>,
}

impl Oidc {
    pub(super) fn checked(
        source: &Source,
        form: Option<Spanned<OidcForm>>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(form) = form else { return Ok(None) };
        let (offset, form) = (form.span().start, form.into_inner());
        let wrong = |at: usize, why: &str| Err(source.wrong(at, format!("oidc: {why}")));
        let parts = (form.issuer, form.algorithms, form.skew, form.root);
        let issuer = Issuer::checked(source, "oidc", parts)?;
        if form.client_id.get_ref().is_empty() {
            return wrong(form.client_id.span().start, "client_id is empty");
        }
        if let Some(uri) = &form.redirect_uri
            && !is_good(uri.get_ref())
        {
            return wrong(uri.span().start, "redirect_uri is not an https:// address");
        }
        let name_claim = form.name_claim.unwrap_or_else(|| "email".into());
        let domains = form.domains.unwrap_or_default();
        if domains.iter().any(|domain| domain.is_empty() || *domain != domain.to_ascii_lowercase())
        {
            return wrong(offset, "domains: a domain is written in lower case");
        }
        if domains.is_empty() && (name_claim == "email" || (form.create && form.require.is_empty()))
        {
            return wrong(
                offset,
                "domains must name at least one domain where people are named by their address, or come into being; else anybody with an account at the provider would be let in",
            );
        }
        if form.teams.is_some() && form.teams_claim.is_none() {
            return wrong(offset, "teams is of a teams_claim, and none is named");
        }
        Ok(Some(Self {
            issuer,
            client_id: form.client_id.into_inner(),
            client_secret_file: form.client_secret_file,
            redirect_uri: form.redirect_uri.map(Spanned::into_inner),
            scopes: form.scopes.unwrap_or_else(|| vec!["openid".into(), "email".into()]),
            name_claim,
            domains,
            require: form.require,
            teams_claim: form.teams_claim,
            teams: form.teams,
            create: form.create,
            bind_existing: form.bind_existing,
            mfa_methods: form.mfa_methods,
            mfa_classes: form.mfa_classes,
            login_lifetime: source.span(
                "login_lifetime",
                form.login_lifetime,
                minutes(8 * 60),
                &(minutes(1)..=days(1)),
            )?,
        }))
    }
}

impl Workload {
    pub(super) fn checked(
        source: &Source,
        forms: Vec<Spanned<WorkloadForm>>,
    ) -> Result<Vec<Self>, ConfigError> {
        let mut all: Vec<Self> = Vec::new();
        for form in forms {
            let (offset, form) = (form.span().start, form.into_inner());
            let wrong = |at: usize, why: String| Err(source.wrong(at, format!("workload: {why}")));
            let parts = (form.issuer, form.algorithms, form.skew, form.root);
            let issuer = Issuer::checked(source, "workload", parts)?;
            if form.audience.get_ref().is_empty() {
                return wrong(form.audience.span().start, "audience is empty".into());
            }
            if form.claims.is_empty() {
                let why = "claims is empty, so that every job of the issuer would be let in";
                return wrong(offset, why.into());
            }
            if let Some(other) = all.iter().find(|other| other.issuer.name == issuer.name)
                && other.issuer != issuer
            {
                let why = format!("{} is there twice, with different settings", issuer.name);
                return wrong(offset, why);
            }
            let span = |key, value, default| {
                source.span(key, value, default, &(minutes(1)..=minutes(24 * 60)))
            };
            all.push(Self {
                issuer,
                audience: form.audience.into_inner(),
                identity: form.identity,
                claims: form.claims,
                login_lifetime: span("login_lifetime", form.login_lifetime, minutes(15))?,
                longest_token: span("longest_token", form.longest_token, minutes(60))?,
            });
        }
        Ok(all)
    }
}

/// The settings that people's and workloads' issuers share, as they are written.
type Parts = (
    Spanned<String>,
    Option<Spanned<BTreeSet<Algorithm>>>,
    Option<Spanned<String>>,
    Option<PathBuf>,
);

impl Issuer {
    fn checked(
        source: &Source,
        table: &str,
        (name, algorithms, skew, root): Parts,
    ) -> Result<Self, ConfigError> {
        if !is_good(name.get_ref()) {
            let message = format!(
                "{table}: issuer: {:?} is not an https:// address without a query (http:// is for 127.0.0.1 and [::1] alone)",
                name.get_ref()
            );
            return Err(source.wrong(name.span().start, message));
        }
        if let Some(none) = algorithms.as_ref().filter(|list| list.get_ref().is_empty()) {
            let message = format!("{table}: algorithms: no token could be believed");
            return Err(source.wrong(none.span().start, message));
        }
        let usual = || {
            use Algorithm::{EdDsa, Es256, Es384, Ps256, Rs256};
            BTreeSet::from([Rs256, Ps256, Es256, Es384, EdDsa])
        };
        Ok(Self {
            name: name.into_inner(),
            algorithms: algorithms.map_or_else(usual, Spanned::into_inner),
            skew: source.span("skew", skew, secs(60), &(secs(0)..=minutes(5)))?,
            root,
        })
    }
}

/// Whether an address is protected, or does not leave this machine.
fn is_good(text: &str) -> bool {
    let Ok(url) = text.parse::<Uri>() else { return false };
    let Some(authority) = url.authority() else { return false };
    let is_named = !authority.host().is_empty() && !authority.as_str().contains('@');
    let is_here = matches!(authority.host(), "127.0.0.1" | "[::1]");
    let is_protected = match url.scheme_str() {
        Some("https") => true,
        Some("http") => is_here,
        _ => false,
    };
    is_named && is_protected && url.query().is_none() && !text.contains('#')
}

/// The settings of `[oidc]`.
pub(crate) const OIDC_SETTINGS: [Setting; 18] = [
    Setting {
        key: "issuer",
        default: "https://id.example.com",
        range: "https://…",
        sentence: "The identity provider, as its tokens name it.",
    },
    Setting {
        key: "client_id",
        default: "curfew",
        range: "a text",
        sentence: "What the authority is to it, and the audience that its tokens must have.",
    },
    Setting {
        key: "client_secret_file",
        default: "/etc/curfew/oidc.secret",
        range: "a file",
        sentence: "The authority's secret there; a public client has none.",
    },
    Setting {
        key: "redirect_uri",
        default: "https://ca.example.com:7442/login",
        range: "https://…",
        sentence: "Where a browser comes back to; without it there is the device flow alone.",
    },
    Setting {
        key: "scopes",
        default: "[\"openid\", \"email\"]",
        range: "texts",
        sentence: "What is asked for.",
    },
    Setting {
        key: "name_claim",
        default: "email",
        range: "a claim",
        sentence: "The claim that names a person here; an address must be verified (email_verified).",
    },
    Setting {
        key: "domains",
        default: "[\"example.com\"]",
        range: "domains",
        sentence: "What must stand after the @ of a name.",
    },
    Setting {
        key: "require",
        default: "{ groups = \"curfew\" }",
        range: "claims and values",
        sentence: "Claims that must be, or list, these values.",
    },
    Setting {
        key: "teams_claim",
        default: "groups",
        range: "a claim",
        sentence: "The claim that lists teams; taken over at each login.",
    },
    Setting {
        key: "teams",
        default: "{ \"Site Reliability\" = \"sre\" }",
        range: "values and team names",
        sentence: "What each is called here; others are passed over. Without the table each is called as it is.",
    },
    Setting {
        key: "create",
        default: "false",
        range: "true or false",
        sentence: "Whether identities come into being by logging in.",
    },
    Setting {
        key: "bind_existing",
        default: "false",
        range: "true or false",
        sentence: "Whether an identity that an operator added can log in so; operators never can.",
    },
    Setting {
        key: "mfa_methods",
        default: "[\"mfa\", \"otp\", \"hwk\"]",
        range: "texts",
        sentence: "Values of the claim amr that count as a second factor; none by default.",
    },
    Setting {
        key: "mfa_classes",
        default: "[]",
        range: "texts",
        sentence: "Values of the claim acr that do.",
    },
    Setting {
        key: "algorithms",
        default: "[\"RS256\", \"PS256\", \"ES256\", \"ES384\", \"EdDSA\"]",
        range: "those, RS384 and RS512",
        sentence: "By which algorithms tokens may be signed.",
    },
    Setting {
        key: "skew",
        default: "1m",
        range: "0s to 5m",
        sentence: "How far its clock and ours may be apart.",
    },
    Setting {
        key: "login_lifetime",
        default: "8h",
        range: "1m to 24h",
        sentence: "How long a login lasts.",
    },
    Setting {
        key: "root",
        default: "/etc/ssl/certs/ca-certificates.crt",
        range: "a file of certificates in PEM",
        sentence: "By which roots its address is believed.",
    },
];
/// The settings of each `[[workload]]` that `[oidc]` has not.
pub(crate) const WORKLOAD_SETTINGS: [Setting; 6] = [
    Setting {
        key: "issuer",
        default: "https://token.actions.example.com",
        range: "https://…",
        sentence: "Who issues the tokens of the jobs, as they name it; algorithms, skew and root are as in [oidc].",
    },
    Setting {
        key: "audience",
        default: "curfew",
        range: "a text",
        sentence: "For whom alone the tokens must be.",
    },
    Setting {
        key: "identity",
        default: "ci:deploy",
        range: "a name",
        sentence: "As whom the jobs log in; it comes into being with the first.",
    },
    Setting {
        key: "claims",
        default: "{ repository = \"acme/app\", ref = \"refs/heads/main\" }",
        range: "claims and values",
        sentence: "Claims that must have just these values.",
    },
    Setting {
        key: "login_lifetime",
        default: "15m",
        range: "1m to 24h",
        sentence: "How long a login lasts.",
    },
    Setting {
        key: "longest_token",
        default: "1h",
        range: "1m to 24h",
        sentence: "How long a token may be good for.",
    },
];

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const OIDC: &str = "[oidc]\nissuer = \"https://id.example.com\"\nclient_id = \"curfew\"\ndomains = [\"example.com\"]\n";
    const WORKLOAD: &str = "[[workload]]\nissuer = \"https://ci\"\naudience = \"curfew\"\nidentity = \"ci:a\"\nclaims = { a = \"b\" }\n";

    #[test]
    fn issuers_are_read_and_what_would_let_in_anybody_is_refused() {
        let config = Config::parse(&Source::of(&format!("{OIDC}{WORKLOAD}"))).unwrap();
        assert_eq!(config.oidc.unwrap().name_claim, "email");
        assert_eq!(config.workloads.len(), 1);
        let refused = |text: String| Config::parse(&Source::of(&text)).unwrap_err().to_string();
        let table = [
            (OIDC.replace("domains = [\"example.com\"]", ""), "test.toml:1: oidc: domains must"),
            (
                OIDC.replace("example.com\"]", "Example.com\"]"),
                "test.toml:1: oidc: domains: a domain",
            ),
            (OIDC.replace("https://id", "http://id"), "test.toml:2: oidc: issuer: "),
            (OIDC.replace("https://id", "https://a@id"), "test.toml:2: oidc: issuer: "),
            (OIDC.replace("\"curfew\"", "\"\""), "test.toml:3: oidc: client_id is empty"),
            (format!("{OIDC}algorithms = [\"none\"]"), "test.toml:5: unknown variant `none`"),
            (format!("{OIDC}algorithms = [\"HS256\"]"), "test.toml:5: unknown variant `HS256`"),
            (format!("{OIDC}algorithms = []"), "test.toml:5: oidc: algorithms: no token"),
            (format!("{OIDC}skew = \"1h\""), "test.toml:5: skew: 1h is out of range"),
            (format!("{OIDC}teams = {{ a = \"b\" }}"), "test.toml:1: oidc: teams is of"),
            (
                WORKLOAD.replace("claims = { a = \"b\" }", "claims = {}"),
                "test.toml:1: workload: claims is empty",
            ),
            (WORKLOAD.replace("\"curfew\"", "\"\""), "test.toml:3: workload: audience is empty"),
            (
                format!("{WORKLOAD}{WORKLOAD}skew = \"2m\""),
                "test.toml:6: workload: https://ci is there twice",
            ),
        ];
        for (text, start) in table {
            let error = refused(text);
            assert!(error.starts_with(start), "{error}");
        }
        for good in ["http://127.0.0.1:9/x", "http://[::1]:9", "https://a/b"] {
            assert!(is_good(good), "{good}");
        }
        for bad in [
            "http://10.0.0.1",
            "https://a?b",
            "https://a#b",
            "https://",
            "id",
            "ftp://a",
            "http://127.0.0.1.evil",
        ] {
            assert!(!is_good(bad), "{bad}");
        }
    }
}
