//! Reading columns back into checked values.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use wire::time::Timestamp;

use super::sql::{Row, SqlError};

/// A text column as a checked name.
pub(super) fn name<T>(row: &Row<'_>, column: usize) -> Result<T, SqlError>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| wrong(column, error))
}

/// The same where there may be nothing.
pub(super) fn maybe_name<T>(row: &Row<'_>, column: usize) -> Result<Option<T>, SqlError>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|error: T::Err| wrong(column, error))).transpose()
}

/// A text column that holds JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, SqlError> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| wrong(column, error))
}

/// The same where there may be nothing.
pub(super) fn maybe_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> Result<Option<T>, SqlError> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(|error| wrong(column, error))
}

/// A text column that holds one word of several.
pub(super) fn word<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, SqlError> {
    let text: String = row.get(column)?;
    T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(&text))
        .map_err(|error| wrong(column, error))
}

/// A moment.
pub(super) fn moment(row: &Row<'_>, column: usize) -> Result<Timestamp, SqlError> {
    row.get(column).map(Timestamp::from_millis)
}

/// A moment that may be absent.
pub(super) fn maybe_moment(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, SqlError> {
    let millis: Option<u64> = row.get(column)?;
    Ok(millis.map(Timestamp::from_millis))
}

/// A numbered name.
pub(super) fn number<T>(
    row: &Row<'_>,
    column: usize,
    of: fn(u64) -> Result<T, wire::identifier::NameError>,
) -> Result<T, SqlError> {
    of(row.get(column)?).map_err(|error| wrong(column, error))
}

/// The same where there may be none.
pub(super) fn maybe_number<T>(
    row: &Row<'_>,
    column: usize,
    of: fn(u64) -> Result<T, wire::identifier::NameError>,
) -> Result<Option<T>, SqlError> {
    let number: Option<u64> = row.get(column)?;
    number.map(of).transpose().map_err(|error| wrong(column, error))
}

fn wrong(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> SqlError {
    SqlError::column(column, error)
}
