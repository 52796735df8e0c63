use std::collections::BTreeSet;
use std::sync::OnceLock;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::question::{Access, Act, Being, Evidence, Moment, Pending, Place, Who};
use crate::{DEFAULT, DEFAULT_NAME, changes};

/// The policy of the facts: eligibility, a second factor, an owner, two people, risk.
const PRODUCTION: &str = r#"
@id("sre-prod")
permit (principal in Curfew::Team::"sre",
        action in [Curfew::Action::"request", Curfew::Action::"issue"],
        resource in Curfew::HostGroup::"env=prod") when { context.seconds <= 14400 };
@id("disabled") @advice("this account is disabled")
forbid (principal, action, resource) when { principal.disabled };
@id("mfa") @advice("confirm your second factor (older than 10 minutes)")
forbid (principal, action == Curfew::Action::"issue", resource)
unless { context.mfaAge <= 600 };
@id("prod-owner") @advice("one approval by an owner of the host")
forbid (principal, action == Curfew::Action::"issue", resource)
unless { context.quorums.contains("owner-1") || context.quorums.contains("owner+security") };
@id("tier0") @advice("two people: an owner and one from security")
forbid (principal, action == Curfew::Action::"issue", resource)
when { resource.tier == 0 } unless { context.quorums.contains("owner+security") };
@id("risk") @advice("risk 70 or more: two approvers and at most 1 hour")
forbid (principal, action == Curfew::Action::"issue", resource)
when { context.risk >= 70 } unless { context.approvers >= 2 && context.seconds <= 3600 };
@id("owners-approve")
permit (principal, action == Curfew::Action::"approve", resource)
when { principal in resource.owners };
@id("own") @advice("nobody approves their own request, administrators included")
forbid (principal, action == Curfew::Action::"approve", resource)
when { principal.name == resource.requester };
"#;

fn files(text: &str) -> Vec<File> {
    vec![File { name: "test.cedar".into(), text: text.into() }]
}

fn set(text: &str) -> PolicySet {
    PolicySet::load(&files(text)).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn who(teams: &[&str]) -> Who {
    Who {
        name: "ana@example.com".into(),
        kind: Being::Person,
        teams: teams.iter().map(|&team| team.into()).collect(),
        roles: BTreeSet::from(["dba".into()]),
        disabled: false,
        operator: false,
    }
}

fn place(labels: &[&str]) -> Place {
    Place { name: "db1".into(), labels: labels.iter().map(|&label| label.into()).collect() }
}

fn access(labels: &[&str]) -> Access {
    Access {
        host: place(labels),
        role: "dba".into(),
        login: "postgres".into(),
        seconds: 3_600,
        renewal: false,
        reason: "restore".into(),
        risk: Some(10),
        evidence: Evidence::default(),
    }
}

fn ask(who: Who, act: Act) -> Question {
    Question { who, act, moment: Moment::at(1_796_000_000_000, &TimeZone::UTC), mfa_age: Some(60) }
}

fn issue(access: Access) -> Question {
    ask(who(&["sre"]), Act::Issue(access))
}

fn missing(verdict: &Verdict) -> Vec<&str> {
    match verdict {
        Verdict::Missing(missing) => missing.iter().map(|one| one.id.as_str()).collect(),
        other => panic!("{other:?}"),
    }
}

fn told(text: &str) -> String {
    let faults = PolicySet::load(&files(text)).map(drop).unwrap_err();
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_missing_is_listed_until_nothing_is() {
    let (set, prod) = (set(PRODUCTION), ["env=prod", "tier=0"]);
    let mut ask = Access { risk: Some(75), ..access(&prod) };
    assert_eq!(missing(&set.decide(&issue(ask.clone()))), ["prod-owner", "tier0", "risk"]);
    ask.evidence.quorums.insert("owner-1".into());
    ask.evidence.approvers = 1;
    assert_eq!(missing(&set.decide(&issue(ask.clone()))), ["tier0", "risk"]);
    ask.evidence.quorums.insert("owner+security".into());
    ask.evidence.approvers = 2;
    assert_eq!(set.decide(&issue(ask)), Verdict::Allowed { by: vec!["sre-prod".into()] });
}

#[test]
fn who_is_not_eligible_learns_nothing_of_requirements() {
    let set = set(PRODUCTION);
    let ask = ask(who(&["web"]), Act::Issue(access(&["env=prod"])));
    assert_eq!(set.decide(&ask), Verdict::NotEligible);
    assert_eq!(set.explain(&ask).met, []);
    let long = Access { seconds: 14_401, ..access(&["env=prod"]) };
    assert_eq!(set.decide(&issue(long)), Verdict::NotEligible);
}

#[test]
fn what_is_met_is_told_apart_from_what_never_applied() {
    let set = set(PRODUCTION);
    let explained = set.explain(&issue(access(&["env=prod", "tier=1"])));
    assert_eq!(missing(&explained.verdict), ["prod-owner"]);
    let met: Vec<_> = explained.met.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(met, ["disabled", "mfa", "tier0", "risk"]);
}

#[test]
fn a_host_without_a_tier_is_of_the_strictest_and_unknown_risk_is_the_highest() {
    let set = set(PRODUCTION);
    let ask = Access { risk: None, ..access(&["env=prod"]) };
    assert_eq!(missing(&set.decide(&issue(ask))), ["prod-owner", "tier0", "risk"]);
    let mut never = issue(access(&["env=prod", "tier=1"]));
    never.mfa_age = None;
    assert_eq!(missing(&set.decide(&never)), ["mfa", "prod-owner"]);
}

fn pending(requester: &str) -> Act {
    Act::Approve(Pending {
        id: "7".into(),
        requester: requester.into(),
        beneficiary: requester.into(),
        teams: BTreeSet::new(),
        host: place(&["env=prod", "owner=dba"]),
        role: "dba".into(),
        login: "postgres".into(),
        seconds: 60,
        risk: None,
    })
}

#[test]
fn owners_approve_and_nobody_their_own() {
    for text in [PRODUCTION, DEFAULT] {
        let set = set(text);
        let boss = || Who { operator: true, ..who(&["dba"]) };
        let others = set.decide(&ask(boss(), pending("bob@example.com")));
        assert!(matches!(others, Verdict::Allowed { .. }), "{others:?}");
        assert!(matches!(
            set.decide(&ask(boss(), pending("ana@example.com"))),
            Verdict::Missing(_)
        ));
        // By default seats decide whose approval counts, and policy lets everybody give one.
        let outsider = set.decide(&ask(who(&["web"]), pending("bob@example.com")));
        let is_let = matches!(outsider, Verdict::Allowed { .. });
        assert_eq!(is_let, text == DEFAULT, "{outsider:?}");
    }
}

#[test]
fn the_default_gives_members_of_a_role_what_it_gives_and_nobody_else() {
    let set = PolicySet::load(&[File { name: DEFAULT_NAME.into(), text: DEFAULT.into() }]).unwrap();
    let by = Verdict::Allowed { by: vec!["members".into()] };
    assert_eq!(set.decide(&issue(access(&[]))), by);
    let program = Who { kind: Being::Workload, ..who(&[]) };
    assert_eq!(set.decide(&ask(program, Act::Issue(access(&[])))), by);
    let other = Access { role: "root".into(), ..access(&[]) };
    assert_eq!(set.decide(&issue(other)), Verdict::NotEligible);
    let disabled = Who { disabled: true, ..who(&[]) };
    let verdict = set.decide(&ask(disabled, Act::Issue(access(&[]))));
    assert_eq!(verdict.to_string(), "still required: this account is disabled");
    assert!(set.reads("role") && !set.reads("risk") && !set.reads("now"), "{set:?}");
}

#[test]
fn operators_alone_lock_and_administer_by_default() {
    let set = set(DEFAULT);
    for act in [Act::Lock, Act::Administer, Act::Export] {
        let operator = Who { operator: true, ..who(&[]) };
        assert!(matches!(set.decide(&ask(operator, act.clone())), Verdict::Allowed { .. }));
        assert_eq!(set.decide(&ask(who(&[]), act)), Verdict::NotEligible);
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_what_to_do() {
    let permit = "@id(\"a\")\npermit (principal, action == Curfew::Action::\"issue\", resource)";
    let table = [
        ("\npermit (principal, action, resource);".to_owned(), "test.cedar:2: this policy has no name; write @id"),
        ("@id(\"a b\") permit (principal, action, resource);".into(), "test.cedar:1: @id(\"a b\"): a name has"),
        (
            "\n\n@id(\"a\") forbid (principal, action, resource);".into(),
            "test.cedar:3: this forbid has no advice, so nobody could be told what is missing; write @advice",
        ),
        (
            "@id(\"a\") @advice(\" \") forbid (principal, action, resource);".into(),
            "test.cedar:1: @advice must have 1 to 200",
        ),
        (
            "@id(\"a\") @advise(\"b\") permit (principal, action, resource);".into(),
            "test.cedar:1: there is no annotation @advise; did you mean @advice?",
        ),
        (format!("{permit}\nwhen {{\n context.mfaage <= 600 }};"), "test.cedar:4: a: attribute `mfaage`"),
        (format!("{permit} when {{ context.risk }};"), "test.cedar:2: a: unexpected type"),
        (format!("{permit} when {{ resource.colour == 1 }};"), "test.cedar:2: a: attribute `colour`"),
        (
            format!("{permit} when {{ context.urgency == Curfew::Urgency::\"asap\" }};"),
            "test.cedar:2: a: entity `Curfew::Urgency::\"asap\"` is of an enumerated",
        ),
        (format!("{permit}\n when {{ context.seconds + 1 <= 600 }};"), "test.cedar:1: adding can overflow"),
        (format!("{permit}\n when {{ context.seconds * 2 <= 600 }};"), "test.cedar:1: multiplying can overflow"),
        ("@id(\"a\")\npermit (principal, action, resource)\nwhen { };".into(), "test.cedar:3: `when` condition clause cannot be empty"),
        ("@id(\"a\") permit (principal, action, resource)".into(), "test.cedar:1: unexpected end"),
        ("@id(\"a\") permit (principal == ?principal, action, resource);".into(), "test.cedar:1: "),
        (
            format!("{permit};\n\n{permit};"),
            "test.cedar:4: @id(\"a\") is taken by test.cedar:1; give it another name",
        ),
        (
            "@id(\"a\") permit (principal, action == Curfew::Action::\"isue\", resource);".into(),
            "test.cedar:1: a: unrecognized action `Curfew::Action::\"isue\"`; did you mean `Curfew::Action::\"issue\"`?",
        ),
        (
            "@id(\"a\") permit (principal in Curfew::Taem::\"x\", action, resource);".into(),
            "test.cedar:1: a: unrecognized entity type `Curfew::Taem`; did you mean `Curfew::Team`?",
        ),
        (
            "@id(\"a\") permit (principal, action == Curfew::Action::\"issue\", resource is Curfew::Session);".into(),
            "test.cedar:1: a: unable to find an applicable action",
        ),
        (format!("{permit} when {{ context.seconds < 5 && false }};"), "test.cedar:1: a: policy is impossible"),
        ("// nothing".into(), "test.cedar:1: there is no policy, so nobody could do anything"),
    ];
    let wrong: Vec<String> = table
        .iter()
        .map(|(text, start)| (text, told(text), start))
        .filter(|(_, said, start)| !said.starts_with(*start))
        .map(|(text, said, start)| format!("{text}\n{said}\nwanted {start}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let said = told(
        "@id(\"a\") permit (principal, action, resource) when { 1 };\npermit (principal, action, resource);\nforbid;",
    );
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("test.cedar:2: ") && said.contains("test.cedar:3: "), "{said}");
}

/// What the language would skip in silence is a no here: the set is made by hand, past all checks.
#[test]
fn a_policy_that_fails_while_it_is_evaluated_is_a_no() {
    let mut set = set(DEFAULT);
    let text = "forbid (principal, action, resource) when { context.nowhere };";
    let failing = Policy::parse(Some(cedar_policy::PolicyId::new("failing")), text).unwrap();
    set.forbids.add(failing.clone()).unwrap();
    assert!(matches!(set.decide(&issue(access(&[]))), Verdict::Refused(_)));
    let mut set = self::set(DEFAULT);
    let text = "permit (principal, action, resource) when { context.nowhere };";
    set.permits
        .add(Policy::parse(Some(cedar_policy::PolicyId::new("failing")), text).unwrap())
        .unwrap();
    let verdict = set.decide(&issue(access(&[])));
    assert!(verdict.to_string().starts_with("policy could not be evaluated: "), "{verdict}");
}

#[test]
fn a_change_is_told_policy_by_policy() {
    let one = "@id(\"a\") permit (principal, action, resource);";
    let (before, after) =
        (set(one), set(&format!("{one}\n@id(\"b\") permit (principal, action, resource);")));
    assert_ne!(before.hash(), after.hash());
    assert_eq!(changes(Some(&before), &before), []);
    let changed = changes(Some(&before), &after);
    assert_eq!((changed.len(), changed[0].id.as_str(), &changed[0].before), (1, "b", &None));
    let back = changes(Some(&after), &before);
    assert_eq!((back.len(), &back[0].after), (1, &None));
    assert_eq!(changes(None, &after).len(), 2);
}

#[test]
fn what_is_mentioned_outside_can_be_looked_up() {
    let set = set(PRODUCTION);
    assert_eq!(set.mentions("Team").collect::<Vec<_>>(), [("sre".into(), "test.cedar", 2)]);
    assert_eq!(set.mentions("HostGroup").count(), 1);
}

#[test]
fn the_hash_knows_names_texts_and_where_one_ends() {
    let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
    let hashes = [
        hash(&[file("a", "bc")]),
        hash(&[file("ab", "c")]),
        hash(&[file("a", ""), file("bc", "")]),
    ];
    assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn a_policy_that_asks_for_the_time_is_asked_again_when_it_has_gone_on() {
    let set = set(r#"
@id("p") permit (principal, action, resource);
@id("late") @advice("not any more")
forbid (principal, action, resource) when { context.now >= datetime("1970-01-01T00:00:05Z") };
"#);
    let at = |millis| {
        let asked = issue(access(&["env=prod"]));
        Question { moment: Moment { millis, ..asked.moment }, ..asked }
    };
    for (millis, is_allowed) in [(4_000, true), (4_999, true), (5_000, false), (4_000, true)] {
        let said = set.decide(&at(millis));
        assert_eq!(matches!(said, Verdict::Allowed { .. }), is_allowed, "{millis}: {said:?}");
    }
}

/// Read once: reading is slow, and asking is what is tried.
fn production() -> &'static PolicySet {
    static SET: OnceLock<PolicySet> = OnceLock::new();
    SET.get_or_init(|| set(PRODUCTION))
}

/// The same, each with one requirement more.
fn narrower() -> &'static [PolicySet] {
    static SETS: OnceLock<Vec<PolicySet>> = OnceLock::new();
    SETS.get_or_init(|| {
        FORBIDS.iter().map(|forbid| set(&format!("{PRODUCTION}{forbid}"))).collect()
    })
}

fn questions() -> impl Strategy<Value = Question> {
    let labels =
        proptest::sample::subsequence(vec!["env=prod", "tier=0", "tier=1", "owner=dba"], 0..=4);
    let teams = proptest::sample::subsequence(vec!["sre", "dba", "web"], 0..=3);
    let quorums = proptest::sample::subsequence(vec!["owner-1", "owner+security"], 0..=2);
    let numbers = (
        0_u64..20_000,
        proptest::option::of(0_u8..=100),
        0_u32..4,
        proptest::option::of(0_u64..1_200),
    );
    (labels, teams, quorums, numbers, any::<(bool, bool)>()).prop_map(
        |(labels, teams, quorums, (seconds, risk, approvers, mfa_age), (disabled, renewal))| {
            let quorums = quorums.into_iter().map(str::to_owned).collect();
            let evidence = Evidence { approvers, quorums, ..Evidence::default() };
            let access = Access { seconds, risk, renewal, evidence, ..access(&labels) };
            let who = Who { disabled, ..who(&teams) };
            Question { mfa_age, ..ask(who, Act::Issue(access)) }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn one_more_forbid_never_allows_more(question in questions(), at in 0..FORBIDS.len()) {
        let (before, after) = (production().decide(&question), narrower()[at].decide(&question));
        let is_allowed = |verdict: &Verdict| matches!(verdict, Verdict::Allowed { .. });
        prop_assert!(is_allowed(&before) || !is_allowed(&after), "{before:?} {after:?}");
        prop_assert_eq!(before == Verdict::NotEligible, after == Verdict::NotEligible);
    }

    #[test]
    fn the_same_question_has_the_same_answer_and_missing_is_what_the_rules_say(question in questions()) {
        let set = production();
        let verdict = set.decide(&question);
        prop_assert_eq!(&verdict, &set.decide(&question));
        prop_assert!(!matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
        let Act::Issue(access) = &question.act else { unreachable!() };
        let has = |name: &str| access.evidence.quorums.contains(name);
        let is_eligible = question.who.teams.contains("sre")
            && access.host.labels.contains("env=prod") && access.seconds <= 14_400;
        let owner = has("owner-1") || has("owner+security");
        let mut due = Vec::new();
        due.extend(question.who.disabled.then_some("disabled"));
        due.extend(question.mfa_age.is_none_or(|age| age > 600).then_some("mfa"));
        due.extend((!owner).then_some("prod-owner"));
        due.extend((access.host.tier() == 0 && !has("owner+security")).then_some("tier0"));
        let is_risky = access.risk.unwrap_or(100) >= 70;
        let is_enough = access.evidence.approvers >= 2 && access.seconds <= 3_600;
        due.extend((is_risky && !is_enough).then_some("risk"));
        match verdict {
            Verdict::NotEligible => prop_assert!(!is_eligible),
            Verdict::Allowed { .. } => prop_assert!(is_eligible && due.is_empty(), "{due:?}"),
            missing => prop_assert!(is_eligible && self::missing(&missing) == due, "{missing:?} {due:?}"),
        }
    }

    #[test]
    fn what_is_remembered_is_what_would_be_said(
        question in questions(), at in 0..FORBIDS.len(), (minute, millis) in (0_u16..1_440, 0_i64..9_000),
    ) {
        let set = &narrower()[at];
        prop_assert_eq!(set.decide(&question), set.put(&question));
        let later = Question { moment: Moment { minute, millis, ..question.moment }, ..question };
        prop_assert_eq!(set.decide(&later), set.put(&later));
    }

    #[test]
    fn no_text_whatever_makes_the_reader_panic(text in "[ -~\\n\"\\\\;/@é]{0,200}") {
        drop(PolicySet::load(&files(&text)));
    }
}

/// Requirements of every shape.
const FORBIDS: [&str; 5] = [
    "@id(\"x\") @advice(\"x\") forbid (principal, action, resource);",
    "@id(\"x\") @advice(\"x\") forbid (principal is Curfew::Workload, action, resource);",
    "@id(\"x\") @advice(\"x\") forbid (principal, action == Curfew::Action::\"issue\", resource) unless { context.renewal };",
    "@id(\"x\") @advice(\"x\") forbid (principal, action == Curfew::Action::\"issue\", resource) when { context.seconds > 60 };",
    "@id(\"x\") @advice(\"x\") forbid (principal, action == Curfew::Action::\"issue\", resource) when { context.minute < 540 };",
];
