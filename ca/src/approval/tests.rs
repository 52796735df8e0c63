use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

impl Count {
    const fn is_met(&self) -> bool {
        matches!(self, Self::Met(_) | Self::Automatic(_))
    }
}

fn person(name: &str, teams: &[&str]) -> Candidate {
    Candidate {
        identity: name.parse().unwrap(),
        is_active: true,
        teams: teams.iter().map(|team| team.parse().unwrap()).collect(),
    }
}

fn quorums(seats: Vec<Seat>) -> Quorums {
    let quorum = Quorum { seats, automatic: None, wider: None, shrink: None };
    Quorums { quorums: BTreeMap::from([(name(), quorum)]), rotas: BTreeMap::new() }
}

fn name() -> QuorumName {
    "q".parse().unwrap()
}

fn team(name: &str) -> Seat {
    Seat::Team(name.parse().unwrap())
}

fn two() -> Quorums {
    quorums(vec![Seat::Owner, team("security")])
}

/// Ana asks for a host that the team `dba` owns.
fn count(quorums: &Quorums, people: &[Candidate]) -> Count {
    let (ana, owners) = ("ana".parse().unwrap(), BTreeSet::from(["dba".parse().unwrap()]));
    quorums.count(&name(), people, &case((&ana, &dba()), &owners, false))
}

fn dba() -> RoleName {
    "dba".parse().unwrap()
}

fn case<'a>(
    (requester, role): (&'a Identity, &'a RoleName),
    owners: &'a BTreeSet<TeamName>,
    urgent: bool,
) -> Case<'a> {
    Case { requester, role, urgent, owners, asked: NOW, now: NOW }
}

#[test]
fn one_person_in_both_teams_fills_one_seat() {
    let both = person("bob", &["dba", "security"]);
    assert_eq!(count(&two(), std::slice::from_ref(&both)), Count::Open(vec![1]));
    assert_eq!(count(&two(), &[both.clone(), both.clone(), both]), Count::Open(vec![1]));
}

#[test]
fn whom_a_greedy_count_would_seat_wrongly_gives_way() {
    // Bob fits both seats and comes first; Cleo fits only the one that he would be given.
    let people = [person("bob", &["dba", "security"]), person("cleo", &["dba"])];
    let met = ["cleo", "bob"].map(|name| name.parse().unwrap());
    assert_eq!(count(&two(), &people), Count::Met(met.to_vec()));
    // The same with a chain of three.
    let three = quorums(vec![team("a"), team("b"), team("c")]);
    let people = [person("p", &["a", "b"]), person("q", &["b", "c"]), person("r", &["a"])];
    assert!(count(&three, &people).is_met());
}

#[test]
fn who_asks_and_who_is_disabled_fill_no_seat() {
    let own = [person("ana", &["security"]), person("bob", &["dba"])];
    assert_eq!(count(&two(), &own), Count::Open(vec![1]));
    let mut gone = person("cleo", &["security"]);
    gone.is_active = false;
    assert_eq!(count(&two(), &[gone, person("bob", &["dba"])]), Count::Open(vec![1]));
}

#[test]
fn no_rule_and_an_empty_one_refuse() {
    let bob = [person("bob", &["dba", "security"])];
    assert_eq!(count(&Quorums::default(), &bob), Count::Unknown);
    assert_eq!(count(&quorums(Vec::new()), &bob), Count::Unknown);
    assert_eq!(count(&quorums(vec![Seat::People(BTreeSet::new())]), &bob), Count::Open(vec![0]));
}

#[test]
fn who_is_on_call_counts_while_they_are_and_is_enough_only_where_that_is_said() {
    let rota: RotaName = "sre".parse().unwrap();
    let hour = Duration::from_secs(3_600);
    let shift =
        |who: &str, from| Shift { who: who.parse().unwrap(), from, until: from.after(hour) };
    let mut quorums = quorums(vec![Seat::OnCall(rota.clone())]);
    quorums.rotas = BTreeMap::from([(rota.clone(), vec![shift("bob", NOW)])]);
    assert!(count(&quorums, &[person("bob", &[])]).is_met());
    quorums.rotas = BTreeMap::from([(rota.clone(), vec![shift("bob", NOW.before(hour))])]);
    assert_eq!(count(&quorums, &[person("bob", &[])]), Count::Open(vec![0]));
    quorums.rotas = BTreeMap::from([(rota.clone(), vec![shift("ana", NOW)])]);
    assert_eq!(count(&quorums, &[person("ana", &[])]), Count::Open(vec![0]));
    quorums.quorums.get_mut(&name()).unwrap().automatic = Some(rota.clone());
    assert_eq!(count(&quorums, &[]), Count::Automatic(rota));
}

#[test]
fn a_second_circle_widens_who_and_never_how_many() {
    let mut quorums = two();
    quorums.quorums.get_mut(&name()).unwrap().wider =
        Some(Wider { after_secs: 60, to: vec![team("managers")] });
    let (ana, owners) = ("ana".parse().unwrap(), BTreeSet::from(["dba".parse().unwrap()]));
    let dba = dba();
    let at = |secs| Case {
        now: NOW.after(Duration::from_secs(secs)),
        ..case((&ana, &dba), &owners, false)
    };
    let one = [person("max", &["managers"])];
    let both = [person("max", &["managers"]), person("mia", &["managers"])];
    assert_eq!(quorums.count(&name(), &both, &at(59)), Count::Open(vec![0, 1]));
    assert_eq!(quorums.count(&name(), &one, &at(60)), Count::Open(vec![1]));
    assert!(quorums.count(&name(), &both, &at(60)).is_met());
    // Not even then does who asks count.
    let own = [person("ana", &["managers"]), person("max", &["managers"])];
    assert!(!quorums.count(&name(), &own, &at(60)).is_met());
    assert_eq!(quorums.next_circle(&name(), &at(0)), Some(at(60).now));
    assert_eq!(quorums.next_circle(&name(), &at(60)), None);
}

#[test]
fn fewer_people_do_after_a_while_where_it_cannot_wait_and_for_the_roles_that_are_named() {
    let mut quorums = two();
    quorums.quorums.get_mut(&name()).unwrap().shrink = Some(Shrink {
        after_secs: 60,
        seats: vec![team("security")],
        roles: BTreeSet::from([dba()]),
    });
    let (ana, owners) = ("ana".parse().unwrap(), BTreeSet::from(["dba".parse().unwrap()]));
    let (dba, other) = (dba(), "deploy".parse().unwrap());
    let at = |secs, urgent, role| Case {
        now: NOW.after(Duration::from_secs(secs)),
        ..case((&ana, role), &owners, urgent)
    };
    let count = |people: &[Candidate], case: &Case<'_>| quorums.count(&name(), people, case);
    let sam = || person("sam", &["security"]);
    let alone = Count::Shrunk(vec!["sam".parse().unwrap()]);
    assert_eq!(count(&[sam()], &at(60, true, &dba)), alone);
    for case in [at(59, true, &dba), at(60, false, &dba), at(60, true, &other)] {
        assert_eq!(count(&[sam()], &case), Count::Open(vec![0]));
    }
    // Not whoever is there: whom the seat that is left is for, and never who asks.
    let late = at(10_000, true, &dba);
    for people in [vec![], vec![person("olga", &["dba"])], vec![person("ana", &["security"])]] {
        assert!(matches!(count(&people, &late), Count::Open(_)), "{people:?}");
    }
    let disabled = Candidate { is_active: false, ..sam() };
    assert!(matches!(count(&[disabled], &late), Count::Open(_)));
    // With everybody there, it is met as it is.
    assert!(count(&[sam(), person("olga", &["dba"])], &late).is_met());
    assert_eq!(quorums.shrinks(&name(), &at(0, true, &dba)), Some(at(60, true, &dba).now));
    for case in [at(60, true, &dba), at(0, false, &dba), at(0, true, &other)] {
        assert_eq!(quorums.shrinks(&name(), &case), None);
    }
}

/// Tries every way to seat people, one after another.
fn brute(fits: &[Vec<bool>], seat: usize, used: &mut Vec<bool>) -> bool {
    if seat == fits.len() {
        return true;
    }
    for person in 0..used.len() {
        if fits[seat][person] && !used[person] {
            used[person] = true;
            if brute(fits, seat.saturating_add(1), used) {
                return true;
            }
            used[person] = false;
        }
    }
    false
}

const TEAMS: [&str; 3] = ["dba", "security", "sre"];
const PEOPLE: [&str; 6] = ["ana", "bob", "cleo", "dan", "eve", "finn"];

fn seat() -> impl Strategy<Value = Seat> {
    prop_oneof![
        Just(Seat::Owner),
        proptest::sample::select(TEAMS.to_vec()).prop_map(team),
        proptest::sample::subsequence(PEOPLE.to_vec(), 0..4)
            .prop_map(|names| Seat::People(names.iter().map(|n| n.parse().unwrap()).collect())),
    ]
}

fn crowd() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (
        proptest::sample::select(PEOPLE.to_vec()),
        proptest::sample::subsequence(TEAMS.to_vec(), 0..=3),
        proptest::bool::weighted(0.85),
    );
    proptest::collection::vec(one, 0..7).prop_map(|people| {
        // One person has one standing, however often they stand there.
        let mut known: BTreeMap<&str, Candidate> = BTreeMap::new();
        for (name, teams, is_active) in people {
            known.entry(name).or_insert(Candidate { is_active, ..person(name, &teams) });
        }
        known.into_values().collect()
    })
}

proptest! {
    #[test]
    fn it_counts_as_trying_every_way_does(
        seats in proptest::collection::vec(seat(), 1..5), people in crowd(),
    ) {
        let quorums = quorums(seats.clone());
        let (ana, owners) = ("ana".parse().unwrap(), BTreeSet::from(["dba".parse().unwrap()]));
        let dba = dba();
        let case = case((&ana, &dba), &owners, false);
        let real: Vec<&Candidate> =
            people.iter().filter(|p| p.is_active && p.identity.as_str() != "ana").collect();
        let fits: Vec<Vec<bool>> = seats.iter().map(|seat| real.iter().map(|p| match seat {
            Seat::Owner => p.teams.contains(&"dba".parse().unwrap()),
            Seat::Team(team) => p.teams.contains(team),
            Seat::People(names) => names.contains(&p.identity),
            Seat::OnCall(_) => false,
        }).collect()).collect();
        let counted = quorums.count(&name(), &people, &case);
        prop_assert_eq!(counted.is_met(), brute(&fits, 0, &mut vec![false; real.len()]));
        if let Count::Met(by) = counted {
            let distinct: BTreeSet<_> = by.iter().collect();
            prop_assert_eq!(distinct.len(), seats.len());
            prop_assert!(!by.contains(&ana));
        }
    }

    #[test]
    fn order_and_duplicates_do_not_matter_and_an_approval_more_unmeets_nothing(
        seats in proptest::collection::vec(seat(), 1..5),
        people in crowd().prop_flat_map(|people| (Just(people.clone()), Just(people).prop_shuffle())),
        more in crowd(),
    ) {
        let (people, shuffled) = people;
        let quorums = quorums(seats);
        let met = count(&quorums, &people).is_met();
        prop_assert_eq!(count(&quorums, &shuffled).is_met(), met);
        prop_assert_eq!(count(&quorums, &[people.clone(), shuffled].concat()).is_met(), met);
        let mut without: Vec<Candidate> = people.clone();
        without.retain(|person| person.identity.as_str() != "ana");
        prop_assert_eq!(count(&quorums, &without).is_met(), met);
        if met {
            let known: BTreeSet<_> = people.iter().map(|p| p.identity.clone()).collect();
            let new = more.into_iter().filter(|p| !known.contains(&p.identity));
            let all: Vec<Candidate> = people.into_iter().chain(new).collect();
            prop_assert!(count(&quorums, &all).is_met());
        }
    }
}
