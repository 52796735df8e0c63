//! Risk: how unusual and how far-reaching an access is, from 0 to 100, and why. Values go in, a value comes out; no I/O, no clock.
//!
//! A score is a sum of factors, each a share of the points that a file of weights gives it. It is reckoned in whole numbers, so
//! that the same case has the same score on every machine and at any time. What is not known counts in full: a lack of
//! knowledge asks for more approval and never for less. What has happened before counts as usual only once a reviewer found it
//! in order, or nobody objected for [`UNTOUCHED_SECS`].
//! Who can change this: whoever writes the file of weights. Gains: whatever policy grants to a low risk.

mod case;
mod factor;
mod history;
mod score;
mod surprise;
mod weights;

pub use case::{Case, Habit, Habits, Outcomes, Past, Who, hour_of_week};
pub use factor::Factor;
pub use history::{Asked, Marks, UNTOUCHED_SECS, Use, Verdict, past};
pub use score::{Otherwise, Part, Score, otherwise, score};
pub use weights::{MAX_TEXT, Weight, Weights, WeightsFault};

/// What holds where there is no file of weights.
pub const DEFAULT: &str = include_str!("../../../packaging/risk.toml");
/// The score of what nobody reckoned.
pub const UNKNOWN: u8 = 100;
