//! Links from page to page: each must lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::page::{Page, Part, top};

/// Every link of these pages that leads to no file of the tree, or to no heading of its page; with how many there are in all.
fn lost(pages: &[Page]) -> (Vec<String>, usize) {
    let headings: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (&*page.path, page.anchors())).collect();
    let mut lost = Vec::new();
    let mut all = 0_usize;
    for page in pages {
        for (line, target) in page.links() {
            all = all.saturating_add(1);
            if !leads(&page.path, &target, &headings) {
                lost.push(format!("{}:{line}: {target}", page.path));
            }
        }
    }
    (lost, all)
}

impl Page {
    /// Its links within the tree, with the lines in which their paragraphs begin.
    fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for part in self.parts() {
            let Part::Prose { line, text } = part else { continue };
            let plain: String = text.split('`').step_by(2).collect();
            let targets = plain.split("](").skip(1).filter_map(|after| after.split(')').next());
            let within = targets.filter(|target| !target.contains("://"));
            links.extend(within.map(|target| (line, target.to_owned())));
        }
        links
    }

    /// What links can call its headings.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for part in self.parts() {
            let Part::Prose { text, .. } = part else { continue };
            let heading = text.lines().next().filter(|line| line.starts_with('#'));
            let Some(heading) = heading else { continue };
            let anchor = anchor(heading.trim_start_matches('#').trim());
            let mut again = (1_usize..).map(|nth| format!("{anchor}-{nth}"));
            let taken = !anchors.insert(anchor.clone());
            if taken && let Some(free) = again.find(|name| !anchors.contains(name)) {
                anchors.insert(free);
            }
        }
        anchors
    }
}

fn leads(from: &str, target: &str, headings: &BTreeMap<&str, BTreeSet<String>>) -> bool {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let to = if path.is_empty() { PathBuf::from(from) } else { plain(&folder.join(path)) };
    let known = to.to_str().and_then(|to| headings.get(to));
    match known {
        Some(headings) => anchor.is_empty() || headings.contains(anchor),
        None => anchor.is_empty() && top().join(to).exists(),
    }
}

/// The same path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// What a heading is called in a link: small letters, digits and dashes for spaces.
fn anchor(heading: &str) -> String {
    let mut parts = heading.split("](");
    let first = parts.next().unwrap_or_default();
    let after = parts.map(|part| part.split_once(')').map_or(part, |(_, after)| after));
    let said: String = [first].into_iter().chain(after).collect();
    let kept = said.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.flat_map(char::to_lowercase)
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::all;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let text = "# One\n\n## Two, `three`: *four*\n\n[a](other.md), [b](#one), [c](#two-three-four), \
                    [d](../docs/other.md#more), [e](../Cargo.toml), [f](https://example.com), `[g](gone.md)`\n\n\
                    [h](gone.md), [i](#gone), [j](other.md#gone), [k](../gone.toml)\n";
        let pages = [Page::new("docs/page.md", text), Page::new("docs/other.md", "## More\n")];
        let (lost, all) = lost(&pages);
        let gone = ["gone.md", "#gone", "other.md#gone", "../gone.toml"];
        assert_eq!(lost, gone.map(|target| format!("docs/page.md:7: {target}")));
        assert_eq!(all, 9);
    }

    #[test]
    fn every_link_from_page_to_page_leads_somewhere() {
        let (lost, links) = lost(&all().unwrap());
        assert_eq!(lost, Vec::<String>::new());
        assert!(links >= 100, "the pages have few links: {links}");
    }

    #[test]
    fn the_book_has_every_page_of_the_folder() {
        let pages = all().unwrap();
        let book = pages.iter().find(|page| page.path == "docs/README.md").unwrap();
        let named: BTreeSet<String> = book.links().into_iter().map(|(_, target)| target).collect();
        let names = pages.iter().filter_map(|page| page.path.strip_prefix("docs/"));
        let missing = names.filter(|name| !name.contains('/') && !named.contains(*name));
        assert_eq!(
            missing.collect::<Vec<_>>(),
            ["README.md"],
            "docs/README.md names every other page"
        );
    }

    #[test]
    fn headings_of_one_name_are_counted() {
        let page = Page::new("page.md", "# A b\n\n## A b\n\n## A b\n");
        let anchors: Vec<String> = page.anchors().into_iter().collect();
        assert_eq!(anchors, ["a-b", "a-b-1", "a-b-2"]);
    }
}
