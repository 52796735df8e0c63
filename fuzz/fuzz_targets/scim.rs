//! What a directory sends: users, groups, filters and patches are read within their bounds, or refused with a fault that
//! can be sent back.
#![no_main]

use std::collections::BTreeSet;

use idp::scim::{
    Fault, Filter, GROUP, Group, GroupPatch, MAX_MEMBERS, USER, User, UserPatch, Wanted,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((text, bytes)) = curfew_fuzz::text_and_bytes(input) else { return };
    for schema in [USER, GROUP] {
        said(Filter::parse(text, schema).map(|filter| assert!(filter.value.len() <= 256)));
    }
    said(Wanted::parse(Some(text), None).map(|_| ()));
    said(User::parse(bytes).map(|user| assert!(!user.user_name.is_empty())));
    said(Group::parse(bytes).map(|group| assert!(group.members.len() <= MAX_MEMBERS)));
    said(UserPatch::parse(bytes).map(|_| ()));
    said(GroupPatch::parse(bytes).map(|patch| {
        // The order of changes counts, and each is whole: doing them again from their end changes nothing more.
        let once = patch.members_after(&BTreeSet::from([1, 2, 3]));
        assert_eq!(once, patch.members_after(&BTreeSet::from([1, 2, 3])));
    }));
});

fn said(read: Result<(), Fault>) {
    if let Err(fault) = read {
        assert_eq!(fault.status, 400);
        let sent = fault.to_json().to_string();
        assert!(sent.len() < 2_048 && !sent.contains('\u{1b}'), "{sent}");
    }
}
