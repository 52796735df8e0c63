//! What a store answers: a page of names, or why not. XML, of which only what is needed is read, and strictly.

/// A page of names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Each name with its length.
    pub(super) objects: Vec<(String, u64)>,
    /// How to ask for the next page.
    pub(super) next: Option<String>,
}

impl Listing {
    /// Reads a page (`ListBucketResult`).
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_odd| "it is no text")?;
        if !text.contains("<ListBucketResult") {
            return Err("it is no listing");
        }
        let mut objects = Vec::new();
        let mut rest = text;
        while let Some((contents, after)) = element(rest, "Contents") {
            let (name, _) = element(contents, "Key").ok_or("an object has no name")?;
            let (length, _) = element(contents, "Size").ok_or("an object has no length")?;
            let length = length.trim().parse().map_err(|_odd| "a length is no number")?;
            objects.push((plain(name)?, length));
            rest = after;
        }
        let is_cut = element(text, "IsTruncated").is_some_and(|(is, _)| is.trim() == "true");
        let next = match element(text, "NextContinuationToken") {
            Some((token, _)) if is_cut => Some(plain(token)?),
            None if is_cut => return Err("it is cut, and does not say how to go on"),
            _ => None,
        };
        Ok(Self { objects, next })
    }
}

/// The store's own code for a failure; empty when its answer has none.
pub(super) fn code_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let code = element(&text, "Code").map_or("", |(code, _)| code);
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

/// What stands in the first element of this name, and what comes after it.
fn element<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>"))
}

/// Text without its entities.
fn plain(text: &str) -> Result<String, &'static str> {
    let mut to = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        to.push_str(before);
        let (entity, after) = after.split_once(';').ok_or("an entity is not closed")?;
        to.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => numbered(other).ok_or("an entity is not known")?,
        });
        rest = after;
    }
    to.push_str(rest);
    Ok(to)
}

fn numbered(entity: &str) -> Option<char> {
    let number = entity.strip_prefix('#')?;
    let number = match number.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    char::from_u32(number.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_end() {
        let text = "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\"><IsTruncated>true</IsTruncated>\
            <Contents><Key>a/1.block</Key><Size>12</Size></Contents><Contents><Key>a&amp;b&#x27;</Key><Size>0</Size></Contents>\
            <NextContinuationToken>t+/=</NextContinuationToken></ListBucketResult>";
        let page = Listing::parse(text.as_bytes()).unwrap();
        assert_eq!(page.objects, [("a/1.block".into(), 12), ("a&b'".into(), 0)]);
        assert_eq!(page.next.as_deref(), Some("t+/="));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let wrap = |text: &str| format!("<ListBucketResult>{text}</ListBucketResult>");
        for text in [
            String::new(),
            "<Error><Code>AccessDenied</Code></Error>".into(),
            wrap("<Contents><Key>a</Key></Contents>"),
            wrap("<Contents><Key>a</Key><Size>x</Size></Contents>"),
            wrap("<Contents><Key>&a</Key><Size>1</Size></Contents>"),
            wrap("<IsTruncated>true</IsTruncated>"),
        ] {
            assert!(Listing::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Listing::parse(&[0xff]).is_err());
        assert_eq!(code_of(b"<Error><Code>AccessDenied</Code></Error>"), "AccessDenied");
        assert_eq!(code_of(b"\x1b[2J"), "");
    }
}
