//! The log for anybody who watches it, as `tlog-tiles` says (c2sp.org/tlog-tiles): no login, and no personal data.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use wire::problem::Code;

use super::refusal::Refusal;
use crate::authority::Authority;
use crate::ledger::{TILE_WIDTH, TileKind, TileName};

/// `GET /checkpoint`
pub(crate) async fn checkpoint(State(authority): State<Arc<Authority>>) -> Response {
    let head = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (head, authority.ledger.checkpoint().to_string()).into_response()
}

/// `GET /tile/<L>/<N>[.p/<W>]`, `GET /tile/entries/<N>[.p/<W>]`
pub(crate) async fn tile(
    State(authority): State<Arc<Authority>>,
    Path(path): Path<String>,
) -> Result<Response, Refusal> {
    let absent = || Refusal::new(Code::NotFound, "the log has no such tile");
    let name = tile_name(&path).ok_or_else(absent)?;
    let tile = authority.ledger.tile(name).await?.ok_or_else(absent)?;
    let head = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((head, tile).into_response())
}

/// Reads the only form of a tile's name.
fn tile_name(path: &str) -> Option<TileName> {
    let (path, width) = match path.split_once(".p/") {
        Some((path, width)) => (path, decimal(width, TILE_WIDTH.checked_sub(1)?)?),
        None => (path, TILE_WIDTH),
    };
    let (kind, number) = path.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(u8::try_from(plain_decimal(level, MAX_LEVEL)?).ok()?),
    };
    (width > 0).then_some(TileName { kind, number: grouped(number)?, width })
}

/// `x001/x234/067` for 1,234,067: groups of three digits, all but the last behind an `x`.
fn grouped(text: &str) -> Option<u64> {
    let mut groups = text.split('/').rev();
    let last = groups.next()?;
    let higher: Vec<&str> =
        groups.map(|group| group.strip_prefix('x')).rev().collect::<Option<_>>()?;
    // No group more than needed.
    if higher.first() == Some(&"000") {
        return None;
    }
    higher.into_iter().chain([last]).try_fold(0_u64, |number, group| {
        let is_group = group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit());
        number.checked_mul(1000)?.checked_add(is_group.then(|| group.parse().ok())??)
    })
}

/// A decimal number without leading zeros, 1 to `most`.
fn decimal(text: &str, most: u64) -> Option<u64> {
    plain_decimal(text, most).filter(|number| *number > 0)
}

/// A decimal number without leading zeros, at most `most`.
fn plain_decimal(text: &str, most: u64) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = text.parse().ok()?;
    (is_plain && number.to_string() == text && number <= most).then_some(number)
}

/// Highest level of tiles: 8 levels of 8 are more than any tree has.
const MAX_LEVEL: u64 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_one_name() {
        let hashes =
            |level, number, width| TileName { kind: TileKind::Hashes(level), number, width };
        let good = [
            ("0/000", hashes(0, 0, 256)),
            ("0/x001/x234/067", hashes(0, 1_234_067, 256)),
            ("2/017.p/5", hashes(2, 17, 5)),
            ("63/x001/000.p/255", hashes(63, 1000, 255)),
            ("entries/x273/008", TileName { kind: TileKind::Entries, number: 273_008, width: 256 }),
        ];
        for (text, name) in good {
            assert_eq!(tile_name(text), Some(name), "{text}");
        }
        for text in [
            "",
            "0",
            "0/",
            "0/0",
            "0/00",
            "0/0000",
            "0/x000/001",
            "0/x1/000",
            "0/001/000",
            "0/x001",
            "00/000",
            "+1/000",
            "64/000",
            "x/000",
            "-1/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p/1/2",
            "0/00a",
            "data/000",
            "8/0/000",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(tile_name(text), None, "{text}");
        }
    }
}
