//! A set of policies in force, and what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

use cedar_policy::{
    Authorizer, Decision, Effect, Entities, Policy, Request, Response, Schema, ValidationMode,
    ValidationWarning, Validator,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::build::{BuildError, Words};
use crate::fault::Fault;
use crate::memory::{Memory, essence};
use crate::question::Question;
use crate::split::{line, statements};
use crate::statement::{Checked, check};
use crate::{SCHEMA, hazard};

/// A file of policies: its name, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct File {
    /// Its name, without its folder.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Policies that hold together, checked strictly.
pub struct PolicySet {
    language: &'static Language,
    authorizer: Authorizer,
    /// Who may do something at all.
    permits: cedar_policy::PolicySet,
    /// What is required.
    forbids: cedar_policy::PolicySet,
    /// The same without their conditions: where each applies.
    scopes: cedar_policy::PolicySet,
    each: Vec<Checked>,
    /// Where each is in `each`.
    places: BTreeMap<String, usize>,
    /// What of the context is read; everything, when absent.
    reads: Option<BTreeSet<String>>,
    files: Vec<File>,
    hash: String,
    answered: Memory,
}

/// What a set of policies says to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[must_use = "a verdict is heeded"]
pub enum Verdict {
    /// Yes, by these permits.
    Allowed {
        /// Their names, as they stand in their files.
        by: Vec<String>,
    },
    /// No permit speaks of it. What else is missing is nobody's business then.
    NotEligible,
    /// Not yet: this is missing.
    Missing(Vec<Requirement>),
    /// No: something failed while it was evaluated.
    Refused(Vec<String>),
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// The name of the policy that demands it.
    pub id: String,
    /// What to do about it.
    pub advice: String,
}

/// A verdict, and which requirements stand behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The verdict.
    pub verdict: Verdict,
    /// Requirements that apply and are met.
    pub met: Vec<Requirement>,
}

impl PolicySet {
    /// Reads and checks files, of which all must be good.
    ///
    /// # Errors
    /// Everything that is wrong with them, in order of file and line.
    pub fn load(files: &[File]) -> Result<Self, Vec<Fault>> {
        let language = language().map_err(|fault| vec![fault])?;
        let size = files.iter().map(|file| file.text.len()).fold(0, usize::saturating_add);
        if size > MAX_TEXT {
            return Err(vec![Fault::new(
                "",
                0,
                format!("policies have at most {MAX_TEXT} bytes in all"),
            )]);
        }
        let (each, mut faults) = checked(files);
        faults.extend(twice(&each));
        let places = each.iter().enumerate().map(|(at, one)| (one.id.clone(), at)).collect();
        let mut whole = cedar_policy::PolicySet::new();
        if faults.is_empty() {
            add(&mut whole, each.iter().map(|one| one.policy.clone()), &mut faults);
            faults.extend(invalid(&whole, &language.schema, &each, files));
        }
        if each.is_empty() && faults.is_empty() {
            let none = Fault::new(
                files.first().map_or("", |file| &file.name),
                1,
                "there is no policy, so nobody could do anything",
            );
            faults.push(none.hint("begin with a copy of the default policy"));
        }
        let of = |effect| {
            each.iter()
                .filter(move |one| one.policy.effect() == effect)
                .map(|one| one.policy.clone())
        };
        let [mut permits, mut forbids, mut scopes] =
            [(); 3].map(|()| cedar_policy::PolicySet::new());
        if faults.is_empty() {
            add(&mut permits, of(Effect::Permit), &mut faults);
            add(&mut forbids, of(Effect::Forbid), &mut faults);
            add(&mut scopes, of(Effect::Forbid).filter_map(|one| scope(&one)), &mut faults);
        }
        if !faults.is_empty() {
            faults.sort();
            return Err(faults);
        }
        let reads = each.iter().try_fold(BTreeSet::new(), |mut all, one| {
            all.extend(hazard::reads(&one.policy)?);
            Some(all)
        });
        let (files, hash) = (files.to_vec(), hash(files));
        let authorizer = Authorizer::new();
        Ok(Self {
            language,
            authorizer,
            permits,
            forbids,
            scopes,
            each,
            places,
            reads,
            files,
            hash,
            answered: Memory::default(),
        })
    }

    /// Answers a question. Whether somebody is eligible comes first, and nobody who is not learns what is required.
    pub fn decide(&self, question: &Question) -> Verdict {
        let essence = essence(question, |attribute| self.reads(attribute));
        if let Some(answered) = self.answered.recall(&essence) {
            return answered;
        }
        let verdict = self.put(question);
        self.answered.keep(essence, &verdict);
        verdict
    }

    /// The same, and nothing is remembered of it: for measurements, and to hold the memory against.
    #[doc(hidden)]
    pub fn put(&self, question: &Question) -> Verdict {
        let (request, entities) = match self.language.put(question) {
            Ok(put) => put,
            Err(error) => return Verdict::Refused(vec![error.to_string()]),
        };
        let eligible = self.authorizer.is_authorized(&request, &self.permits, &entities);
        if let Some(errors) = errors(&eligible) {
            return Verdict::Refused(errors);
        }
        if eligible.decision() == Decision::Deny {
            return Verdict::NotEligible;
        }
        let required = self.authorizer.is_authorized(&request, &self.forbids, &entities);
        if let Some(errors) = errors(&required) {
            return Verdict::Refused(errors);
        }
        let missing = self.told(&required);
        if !missing.is_empty() {
            return Verdict::Missing(missing);
        }
        let by = self.inorder(&eligible).map(|one| one.id.clone()).collect();
        Verdict::Allowed { by }
    }

    /// Answers a question, and says which requirements apply and are met.
    #[must_use]
    pub fn explain(&self, question: &Question) -> Explained {
        let verdict = self.decide(question);
        let missing = match &verdict {
            Verdict::Allowed { .. } => &[][..],
            Verdict::Missing(missing) => missing,
            Verdict::NotEligible | Verdict::Refused(_) => {
                return Explained { verdict, met: Vec::new() };
            }
        };
        let met = match self.language.put(question) {
            Ok((request, entities)) => {
                let applies = self.authorizer.is_authorized(&request, &self.scopes, &entities);
                let mut met = self.told(&applies);
                met.retain(|one| !missing.contains(one));
                met
            }
            Err(_) => Vec::new(),
        };
        Explained { verdict, met }
    }

    /// Whether any policy reads this attribute of the context.
    #[must_use]
    pub fn reads(&self, attribute: &str) -> bool {
        self.reads.as_ref().is_none_or(|reads| reads.contains(attribute))
    }

    /// What it was read from.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Names this set among all others: the SHA-256 over the schema and the files, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there is none, which is never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Every name of something outside that policies mention, such as a role or a team, with the place of the policy.
    pub fn mentions<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (String, &'a str, usize)> {
        self.each.iter().flat_map(move |one| {
            let named = one
                .policy
                .entity_literals()
                .into_iter()
                .filter(move |uid| uid.type_name().basename() == kind);
            named.map(|uid| (uid.id().unescaped().to_owned(), one.file.as_str(), one.line))
        })
    }

    /// Every requirement there is, in the order of the files.
    pub fn requirements(&self) -> impl Iterator<Item = Requirement> {
        self.each.iter().filter_map(|one| {
            let advice = one.advice.clone()?;
            Some(Requirement { id: one.id.clone(), advice })
        })
    }

    pub(crate) fn each(&self) -> &[Checked] {
        &self.each
    }

    fn told(&self, response: &Response) -> Vec<Requirement> {
        let told = self.inorder(response).map(|one| Requirement {
            id: one.id.clone(),
            advice: one.advice.clone().unwrap_or_default(),
        });
        told.collect()
    }

    /// The policies that made a response what it is, in the order of their files.
    fn inorder(&self, response: &Response) -> impl Iterator<Item = &Checked> {
        let reasons = response.diagnostics().reason();
        let places: BTreeSet<usize> =
            reasons.filter_map(|id| self.places.get(AsRef::<str>::as_ref(id)).copied()).collect();
        places.into_iter().filter_map(|at| self.each.get(at))
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet")
            .field("hash", &self.hash)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for PolicySet {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for PolicySet {}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed { by } => write!(f, "allowed by {}", by.join(", ")),
            Self::NotEligible => f.write_str("not eligible"),
            Self::Missing(missing) => {
                let told: Vec<&str> = missing.iter().map(|one| one.advice.as_str()).collect();
                write!(f, "still required: {}", told.join("; "))
            }
            Self::Refused(errors) => {
                write!(f, "policy could not be evaluated: {}", errors.join("; "))
            }
        }
    }
}

/// Our schema and the words in it.
struct Language {
    schema: Schema,
    words: Words,
}

impl Language {
    fn put(&self, question: &Question) -> Result<(Request, Entities), BuildError> {
        self.words.put(question, &self.schema)
    }
}

/// Read once. It is ours; a fault in it is a fault of this program and is told like any other.
fn language() -> Result<&'static Language, Fault> {
    static LANGUAGE: OnceLock<Result<Language, Fault>> = OnceLock::new();
    LANGUAGE.get_or_init(read_language).as_ref().map_err(Clone::clone)
}

fn read_language() -> Result<Language, Fault> {
    let fault = |error: &dyn fmt::Display| Fault::new("curfew.cedarschema", 1, error.to_string());
    let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| fault(&error))?;
    if let Some(warning) = warnings.into_iter().next() {
        return Err(fault(&warning));
    }
    Ok(Language { schema, words: Words::new().map_err(|error| fault(&error))? })
}

/// All policies of all files, and all that is wrong with any.
fn checked(files: &[File]) -> (Vec<Checked>, Vec<Fault>) {
    let (mut each, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        let before = (each.len(), faults.len());
        for statement in statements(&file.text) {
            match check((&file.name, &file.text), statement) {
                Ok(one) => each.push(one),
                Err(wrong) => faults.extend(wrong),
            }
        }
        // The language's own reading of the whole must come to the same number.
        let found = each.len().saturating_sub(before.0);
        let whole = file.text.parse::<cedar_policy::PolicySet>().map(|set| set.policies().count());
        if faults.len() == before.1 && whole.ok() != Some(found) {
            faults.push(Fault::new(&file.name, 1, "this file cannot be read policy by policy"));
        }
    }
    if each.len() > MAX_POLICIES {
        faults.push(Fault::new("", 0, format!("there are at most {MAX_POLICIES} policies")));
    }
    (each, faults)
}

fn twice(each: &[Checked]) -> Vec<Fault> {
    let mut first: BTreeMap<&str, &Checked> = BTreeMap::new();
    let mut faults = Vec::new();
    for one in each {
        if let Some(before) = first.insert(&one.id, one) {
            let message = format!("@id({:?}) is taken by {}:{}", one.id, before.file, before.line);
            faults.push(Fault::new(&one.file, one.line, message).hint("give it another name"));
        }
    }
    faults
}

fn add(
    set: &mut cedar_policy::PolicySet,
    policies: impl Iterator<Item = Policy>,
    faults: &mut Vec<Fault>,
) {
    for policy in policies {
        if let Err(error) = set.add(policy) {
            faults.push(Fault::new("", 0, error.to_string()));
        }
    }
}

/// What the schema says against the policies; what never takes effect is refused like what is wrong.
fn invalid(
    whole: &cedar_policy::PolicySet,
    schema: &Schema,
    each: &[Checked],
    files: &[File],
) -> Vec<Fault> {
    let result = Validator::new(schema.clone()).validate(whole, ValidationMode::Strict);
    let fault = |id: &cedar_policy::PolicyId, error: &dyn miette::Diagnostic| {
        let Some(one) = each.iter().find(|one| one.id == AsRef::<str>::as_ref(id)) else {
            return Fault::new("", 0, error.to_string());
        };
        let text = files.iter().find(|file| file.name == one.file).map_or("", |file| &file.text);
        let at = one.offset.saturating_add(hazard::offset(error).min(one.text.len()));
        let said = error.to_string();
        let prefix = format!("for policy `{}`", one.id);
        let said = said.strip_prefix(&prefix).unwrap_or(&said).trim_start_matches([',', ':', ' ']);
        let fault = Fault::new(&one.file, line(text, at), format!("{}: {said}", one.id));
        match error.help() {
            Some(help) => fault.hint(help.to_string()),
            None => fault,
        }
    };
    let wrong: Vec<_> = result.validation_errors().collect();
    let inapplicable: Vec<_> = result
        .validation_warnings()
        .filter(|warning| matches!(warning, ValidationWarning::InvalidActionApplication(_)))
        .map(ValidationWarning::policy_id)
        .collect();
    // What follows from another fault of the same policy is not told beside it.
    let warned = result.validation_warnings().filter(|warning| {
        let id = warning.policy_id();
        let is_impossible = matches!(warning, ValidationWarning::ImpossiblePolicy(_));
        wrong.iter().all(|error| error.policy_id() != id)
            && !(is_impossible && inapplicable.contains(&id))
    });
    let told = wrong.iter().map(|error| fault(error.policy_id(), *error));
    told.chain(warned.map(|warning| fault(warning.policy_id(), warning))).collect()
}

/// Where a requirement applies: the policy without its conditions.
fn scope(policy: &Policy) -> Option<Policy> {
    let mut json = policy.to_json().ok()?;
    json.as_object_mut()?.insert("conditions".into(), serde_json::Value::Array(Vec::new()));
    Policy::from_json(Some(policy.id().clone()), json).ok()
}

fn errors(response: &Response) -> Option<Vec<String>> {
    let errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
    (!errors.is_empty()).then_some(errors)
}

/// Names a set of files among all others: the SHA-256 over the schema, their names and their texts.
#[must_use]
pub fn hash(files: &[File]) -> String {
    let mut hasher = Sha256::new();
    let mut part = |text: &str| {
        hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    part(SCHEMA);
    for file in files {
        part(&file.name);
        part(&file.text);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A thousand policies of the longest kind; each change of them is kept whole in the ledger.
pub const MAX_TEXT: usize = 1 << 20;
/// Every one is evaluated at every issue: at this many a decision takes about 2 ms.
const MAX_POLICIES: usize = 2_000;

#[cfg(test)]
#[path = "set/tests.rs"]
mod tests;
