//! Sets of networks, as `source-address` means them: pure, exact, and the same set always written the same way.
//!
//! OpenSSH reads a list of CIDR networks parted by commas, without blanks, and refuses one with bits beyond its mask.
//! We hold each set in its shortest form (nothing inside another, halves of a network joined), so that equal sets are
//! equal values, whatever order they were written in.
//! Source: `source-address` in draft-miller-ssh-cert; OpenSSH's `addr_match_cidr_list`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One network: an address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    family: Family,
    /// The leading bits, at the top; nothing below them.
    bits: u128,
    length: u8,
}

/// IPv4 and IPv6 addresses never match each other's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Family {
    V4,
    V6,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is not an address with the length of a prefix.
    #[error(
        "{0:?} is no network; write an address and a prefix, such as 10.0.0.0/8 or 2001:db8::/32"
    )]
    Form(String),
    /// An address without a prefix: the network of that one address.
    #[error("{given:?} has no prefix; for that one address write {meant}")]
    NoPrefix {
        /// What was written.
        given: String,
        /// The network of that address alone.
        meant: Network,
    },
    /// Bits beyond the prefix are set: sshd would refuse the whole certificate.
    #[error("{given:?} has bits beyond its prefix; did you mean {meant}?")]
    HostBits {
        /// What was written.
        given: String,
        /// The network it lies in.
        meant: Network,
    },
    /// IPv4 written as IPv6: sshd compares it as IPv4, so nothing would match.
    #[error("{0:?} is IPv4 written as IPv6, which no client ever has; write it as IPv4")]
    Mapped(String),
    /// No network at all.
    #[error("the list of networks is empty, which would let in nobody")]
    Empty,
    /// More networks than a certificate should carry.
    #[error("{0} networks are too many; at most {MAX_NETWORKS} are allowed")]
    TooMany(usize),
}

impl Network {
    /// Checks `text`, such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// What is wrong with it, and what was probably meant.
    pub fn try_new(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError::Form(text.chars().take(MAX_SHOWN).collect());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_no_address| wrong())?;
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(NetworkError::Mapped(text.to_owned()));
        }
        let Some(length) = length else {
            let meant = Self::of_one(address);
            return Err(NetworkError::NoPrefix { given: text.to_owned(), meant });
        };
        let plain = length.bytes().all(|byte| byte.is_ascii_digit())
            && (length == "0" || !length.starts_with('0'));
        let length: u8 = length.parse().map_err(|_no_number| wrong())?;
        let whole = Self::of_one(address);
        if !plain || length > whole.length {
            return Err(wrong());
        }
        let network = whole.shortened(length);
        if network.bits != whole.bits {
            return Err(NetworkError::HostBits { given: text.to_owned(), meant: network });
        }
        Ok(network)
    }

    /// The network of one address.
    #[must_use]
    pub fn of_one(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self {
                family: Family::V4,
                bits: u128::from(address.to_bits()) << 96_u32,
                length: 32,
            },
            IpAddr::V6(address) => {
                Self { family: Family::V6, bits: address.to_bits(), length: 128 }
            }
        }
    }

    /// Whether every address of `other` is one of ours.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && other.shortened(self.length) == self
    }

    /// Only the first `length` bits; never more than there are.
    fn shortened(self, length: u8) -> Self {
        let keep = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(length))).unwrap_or(0);
        Self { bits: self.bits & keep, length: length.min(self.length), ..self }
    }

    /// The network twice as large that holds it; none for a whole family.
    fn parent(self) -> Option<Self> {
        self.length.checked_sub(1).map(|length| self.shortened(length))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self.family {
            Family::V4 => {
                let bits = u32::try_from(self.bits >> 96_u32).unwrap_or_default();
                IpAddr::V4(Ipv4Addr::from_bits(bits))
            }
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(self.bits)),
        };
        write!(f, "{address}/{}", self.length)
    }
}

impl FromStr for Network {
    type Err = NetworkError;
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        Self::try_new(text)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;
    fn try_from(text: String) -> Result<Self, NetworkError> {
        Self::try_new(&text)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// A set of addresses that is not empty, in its shortest form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Network>", into = "Vec<Network>")]
pub struct Networks(BTreeSet<Network>);

impl Networks {
    /// The set of all addresses in `networks`.
    ///
    /// # Errors
    /// When there are none, or more than [`MAX_NETWORKS`].
    pub fn try_new(networks: impl IntoIterator<Item = Network>) -> Result<Self, NetworkError> {
        let shortest = shortest(networks);
        match shortest.len() {
            0 => Err(NetworkError::Empty),
            count if count > MAX_NETWORKS => Err(NetworkError::TooMany(count)),
            _ => Ok(Self(shortest)),
        }
    }

    /// Reads the value of a certificate's `source-address`: networks parted by commas, and nothing else.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_option(value: &str) -> Result<Self, NetworkError> {
        if value.is_empty() {
            return Err(NetworkError::Empty);
        }
        let networks: Vec<Network> =
            value.split(',').map(Network::try_new).collect::<Result<_, _>>()?;
        Self::try_new(networks)
    }

    /// The addresses in both; none when there is no such address.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let pairs = self.0.iter().flat_map(|ours| other.0.iter().map(move |theirs| (ours, theirs)));
        let both = pairs.filter_map(|(ours, theirs)| {
            let narrower = if ours.covers(*theirs) { theirs } else { ours };
            (ours.covers(*theirs) || theirs.covers(*ours)).then_some(*narrower)
        });
        let both = shortest(both);
        (!both.is_empty()).then_some(Self(both))
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|theirs| self.0.iter().any(|ours| ours.covers(*theirs)))
    }

    /// Whether `address` is in it, as sshd would say: IPv4 written as IPv6 counts as IPv4.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let one = Network::of_one(address.to_canonical());
        self.0.iter().any(|network| network.covers(one))
    }

    /// The networks, in order.
    pub fn iter(&self) -> impl Iterator<Item = Network> + '_ {
        self.0.iter().copied()
    }
}

impl fmt::Display for Networks {
    /// As a certificate's `source-address` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

impl TryFrom<Vec<Network>> for Networks {
    type Error = NetworkError;
    fn try_from(networks: Vec<Network>) -> Result<Self, NetworkError> {
        Self::try_new(networks)
    }
}

impl From<Networks> for Vec<Network> {
    fn from(networks: Networks) -> Self {
        networks.0.into_iter().collect()
    }
}

/// The same addresses in as few networks as can be.
fn shortest(networks: impl IntoIterator<Item = Network>) -> BTreeSet<Network> {
    // In order, what lies inside a network comes after it, and halves of one network stand side by side.
    let ordered: BTreeSet<Network> = networks.into_iter().collect();
    let mut kept: Vec<Network> = Vec::new();
    for network in ordered {
        let mut network = network;
        while let Some(before) = kept.last().copied() {
            let Some(joined) = joined(before, network) else { break };
            network = joined;
            kept.pop();
        }
        kept.push(network);
    }
    kept.into_iter().collect()
}

/// The one network that is both, when `before` holds `network` or is its other half.
fn joined(before: Network, network: Network) -> Option<Network> {
    if before.covers(network) {
        return Some(before);
    }
    let parent = before.parent()?;
    (before.length == network.length && parent.covers(network)).then_some(parent)
}

/// The most networks in one set: a certificate travels at every login, and a person must be able to read them.
pub const MAX_NETWORKS: usize = 64;
/// Characters of a wrong text that an error repeats.
const MAX_SHOWN: usize = 64;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(text: &str) -> Networks {
        Networks::from_option(text).unwrap()
    }

    #[test]
    fn only_exact_networks_are_read() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.7/32", "2001:db8::/32", "::/0", "::1/128"]
        {
            assert_eq!(Network::try_new(text).unwrap().to_string(), text);
        }
        let table = [
            ("10.0.0.1/8", "bits beyond its prefix; did you mean 10.0.0.0/8?"),
            ("2001:db8::1/64", "did you mean 2001:db8::/64?"),
            ("10.0.0.1", "for that one address write 10.0.0.1/32"),
            ("::1", "write ::1/128"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
            ("10.0.0.0/33", "is no network"),
            ("::/129", "is no network"),
            ("10.0.0.0/08", "is no network"),
            ("10.0.0.0/+8", "is no network"),
            ("10.0.0.0/", "is no network"),
            ("10.0.0/8", "is no network"),
            ("010.0.0.0/8", "is no network"),
            (" 10.0.0.0/8", "is no network"),
            ("!10.0.0.0/8", "is no network"),
            ("*", "is no network"),
            ("fe80::%eth0/64", "is no network"),
            ("", "is no network"),
        ];
        for (text, why) in table {
            let error = Network::try_new(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_set_has_one_form() {
        let table = [
            ("10.0.0.0/8,10.1.0.0/16", "10.0.0.0/8"),
            ("10.128.0.0/9,10.0.0.0/9", "10.0.0.0/8"),
            ("10.64.0.0/10,10.0.0.0/10,10.128.0.0/9", "10.0.0.0/8"),
            ("0.0.0.0/1,128.0.0.0/1,::/0", "0.0.0.0/0,::/0"),
            ("10.0.1.0/24,10.0.2.0/24", "10.0.1.0/24,10.0.2.0/24"),
            ("2001:db8::/33,2001:db8:8000::/33", "2001:db8::/32"),
        ];
        for (written, shortest) in table {
            assert_eq!(networks(written).to_string(), shortest);
        }
    }

    #[test]
    fn nothing_in_common_is_no_set_and_families_are_apart() {
        let table = [
            ("10.0.0.0/8", "10.1.0.0/16,192.0.2.0/24", Some("10.1.0.0/16")),
            ("10.0.0.0/8", "11.0.0.0/8", None),
            ("0.0.0.0/0", "::/0", None),
            (
                "0.0.0.0/0,2001:db8::/32",
                "2001:db8:1::/48,10.0.0.0/8",
                Some("10.0.0.0/8,2001:db8:1::/48"),
            ),
        ];
        for (left, right, both) in table {
            let both = both.map(networks);
            assert_eq!(networks(left).intersection(&networks(right)), both, "{left} and {right}");
        }
    }

    #[test]
    fn an_empty_or_sloppy_list_is_refused() {
        for text in ["", ",", "10.0.0.0/8,", "10.0.0.0/8, 11.0.0.0/8", "10.0.0.0/8;11.0.0.0/8"] {
            assert!(Networks::from_option(text).is_err(), "{text:?}");
        }
        let many: Vec<String> =
            (0..=MAX_NETWORKS).map(|each| format!("10.0.{each}.1/32")).collect();
        assert_eq!(
            Networks::from_option(&many.join(",")),
            Err(NetworkError::TooMany(MAX_NETWORKS + 1))
        );
        assert!(serde_json::from_str::<Networks>("[]").is_err());
    }

    #[test]
    fn an_address_is_judged_as_sshd_judges_it() {
        let set = networks("10.0.0.0/8,2001:db8::/32");
        for (address, held) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
            ("::", false),
        ] {
            assert_eq!(set.holds(address.parse().unwrap()), held, "{address}");
        }
    }

    /// Networks that meet often: few bits, both families.
    pub(crate) fn a_network() -> impl Strategy<Value = Network> {
        (any::<bool>(), any::<u128>(), 0_u8..6).prop_map(|(v4, bits, length)| {
            let family = if v4 { Family::V4 } else { Family::V6 };
            let length = if length == 5 { if v4 { 32 } else { 128 } } else { length };
            Network { family, bits: bits & (0xFF << 120), length: 8.max(length) }.shortened(length)
        })
    }

    pub(crate) fn a_set() -> impl Strategy<Value = Networks> {
        proptest::collection::vec(a_network(), 1..6)
            .prop_map(|networks| Networks::try_new(networks).unwrap())
    }

    fn an_address() -> impl Strategy<Value = IpAddr> {
        (any::<bool>(), any::<u8>(), any::<u128>()).prop_map(|(v4, top, rest)| {
            if v4 {
                IpAddr::V4(Ipv4Addr::new(top, 0, 0, 0))
            } else {
                IpAddr::V6(Ipv6Addr::from_bits(u128::from(top) << 120 | rest >> 8))
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(set in a_set()) {
            prop_assert_eq!(Networks::from_option(&set.to_string()).unwrap(), set);
        }

        #[test]
        fn the_shortest_form_holds_the_same_addresses(
            list in proptest::collection::vec(a_network(), 1..8), address in an_address(),
        ) {
            let held = list.iter().any(|network| network.covers(Network::of_one(address)));
            let set = Networks::try_new(list.clone()).unwrap();
            prop_assert_eq!(set.holds(address), held);
            let mut turned = list;
            turned.reverse();
            prop_assert_eq!(Networks::try_new(turned).unwrap(), set);
        }

        #[test]
        fn an_intersection_holds_what_both_hold(a in a_set(), b in a_set(), address in an_address()) {
            let both = a.intersection(&b);
            let held = both.as_ref().is_some_and(|set| set.holds(address));
            prop_assert_eq!(held, a.holds(address) && b.holds(address));
            if let Some(both) = both {
                prop_assert!(a.covers(&both) && b.covers(&both));
            }
        }

        #[test]
        fn covering_is_having_the_other_as_the_intersection(a in a_set(), b in a_set()) {
            prop_assert_eq!(a.covers(&b), a.intersection(&b) == Some(b.clone()));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./,]{0,40}") {
            drop(Networks::from_option(&text));
        }
    }
}
