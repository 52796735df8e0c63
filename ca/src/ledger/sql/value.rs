//! What goes into a statement and comes out of a row.

use super::SqlError;

/// A value for a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Value<'a> {
    /// None, of a kind.
    Null(Kind),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// What kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::ledger) enum Kind {
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Text.
    Text,
    /// Bytes.
    Bytes,
}

impl Value<'_> {
    /// Of which kind it is.
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Null(kind) => *kind,
            Self::Number(_) => Kind::Number,
            Self::Flag(_) => Kind::Flag,
            Self::Text(_) => Kind::Text,
            Self::Bytes(_) => Kind::Bytes,
        }
    }
}

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Cell<'a> {
    /// Nothing.
    Null,
    /// A number; in `SQLite` yes and no as well.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// What can be given to a statement.
pub(in crate::ledger) trait ToValue {
    /// As the database takes it.
    ///
    /// # Errors
    ///
    /// [`SqlError::Range`] for a number beyond 2^63.
    fn value(&self) -> Result<Value<'_>, SqlError>;
}

/// What is always of one kind, also where it is absent.
pub(in crate::ledger) trait OfKind {
    /// Which.
    const KIND: Kind;
}

/// What can be read from a column.
pub(in crate::ledger) trait FromValue: Sized {
    /// The value, unless the column holds something else.
    fn from_value(cell: Cell<'_>) -> Option<Self>;
}

/// All values of a statement, in order.
pub(in crate::ledger) trait Params {
    /// As the database takes them.
    ///
    /// # Errors
    ///
    /// [`SqlError::Range`] for a number beyond 2^63.
    fn values(&self) -> Result<Vec<Value<'_>>, SqlError>;
}

impl Params for () {
    fn values(&self) -> Result<Vec<Value<'_>>, SqlError> {
        Ok(Vec::new())
    }
}

impl<T: ToValue> Params for &[T] {
    fn values(&self) -> Result<Vec<Value<'_>>, SqlError> {
        self.iter().map(ToValue::value).collect()
    }
}

impl<T: ToValue, const N: usize> Params for [T; N] {
    fn values(&self) -> Result<Vec<Value<'_>>, SqlError> {
        self.iter().map(ToValue::value).collect()
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        (**self).value()
    }
}

impl<T: OfKind + ?Sized> OfKind for &T {
    const KIND: Kind = T::KIND;
}

impl<T: ToValue + OfKind> ToValue for Option<T> {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        self.as_ref().map_or(Ok(Value::Null(T::KIND)), ToValue::value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

impl ToValue for str {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        Ok(Value::Text(self))
    }
}

impl OfKind for str {
    const KIND: Kind = Kind::Text;
}

impl ToValue for String {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        Ok(Value::Text(self))
    }
}

impl OfKind for String {
    const KIND: Kind = Kind::Text;
}

impl FromValue for String {
    fn from_value(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

impl ToValue for [u8] {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        Ok(Value::Bytes(self))
    }
}

impl OfKind for [u8] {
    const KIND: Kind = Kind::Bytes;
}

impl<const N: usize> ToValue for [u8; N] {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        Ok(Value::Bytes(self))
    }
}

impl<const N: usize> OfKind for [u8; N] {
    const KIND: Kind = Kind::Bytes;
}

impl<const N: usize> FromValue for [u8; N] {
    fn from_value(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Bytes(bytes) => bytes.try_into().ok(),
            _ => None,
        }
    }
}

impl ToValue for Vec<u8> {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        Ok(Value::Bytes(self))
    }
}

impl OfKind for Vec<u8> {
    const KIND: Kind = Kind::Bytes;
}

impl FromValue for Vec<u8> {
    fn from_value(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Bytes(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }
}

impl ToValue for bool {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        Ok(Value::Flag(*self))
    }
}

impl OfKind for bool {
    const KIND: Kind = Kind::Flag;
}

impl FromValue for bool {
    fn from_value(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Flag(flag) => Some(flag),
            Cell::Number(number) => Some(number != 0),
            _ => None,
        }
    }
}

impl ToValue for u64 {
    fn value(&self) -> Result<Value<'_>, SqlError> {
        i64::try_from(*self).map(Value::Number).map_err(|_beyond| SqlError::Range(*self))
    }
}

/// Numbers that always fit.
macro_rules! numbers {
    ($($number:ty),+) => {$(
        impl ToValue for $number {
            fn value(&self) -> Result<Value<'_>, SqlError> {
                Ok(Value::Number(i64::from(*self)))
            }
        }
    )+};
}
numbers!(u8, u32, i64);

/// What is a number, and can be read as one.
macro_rules! readable {
    ($($number:ty),+) => {$(
        impl OfKind for $number {
            const KIND: Kind = Kind::Number;
        }

        impl FromValue for $number {
            fn from_value(cell: Cell<'_>) -> Option<Self> {
                match cell {
                    Cell::Number(number) => number.try_into().ok(),
                    _ => None,
                }
            }
        }
    )+};
}
readable!(u8, u32, u64, i64);
