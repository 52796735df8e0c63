//! A backup's bytes: whatever is handed out has a name that stays in its folder, the length that was promised, and the hash.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;

#[path = "../../ca/src/backup/archive.rs"]
#[expect(dead_code, reason = "the program writes archives too")]
mod archive;
#[path = "../../ca/src/backup/manifest.rs"]
#[expect(dead_code, reason = "the program uses all of it, the target a part")]
mod manifest;

fuzz_target!(|bytes: &[u8]| {
    let mut handed = Vec::new();
    let read = archive::read(bytes, |_, member, from: &mut dyn Read| {
        let mut content = Vec::new();
        from.read_to_end(&mut content)?;
        handed.push((member.clone(), content));
        Ok(())
    });
    for (member, _) in &handed {
        let name = ["state/", "policy/"].iter().find_map(|folder| member.name.strip_prefix(folder));
        let name = name.unwrap_or(&member.name);
        assert!(!name.contains('/') && !name.starts_with('.') && !name.is_empty(), "{name:?}");
    }
    let Ok(manifest) = read else { return };
    assert_eq!(manifest.files.len(), handed.len());
    for (listed, (member, content)) in manifest.files.iter().zip(&handed) {
        assert_eq!((listed, u64::try_from(content.len()).ok()), (member, Some(member.bytes)));
        assert_eq!(wire::log::Hash::of(content), member.sha256);
    }
});
