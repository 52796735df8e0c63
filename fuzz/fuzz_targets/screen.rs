//! What passed a terminal, shown again: whatever it was, what is painted drives no terminal, keyframes change nothing, and
//! lines and asciicasts can be made of it, and so can what is searched: what it shows and what it types is letters alone. The first bytes choose sizes and where the rest is cut.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use screen::emulator::Emulator;
use screen::film::Film;
use screen::frame::{self, Size};
use screen::keys::Keys;
use screen::paint::{Window, is_harmless, paint};
use screen::text::{Line, Text};
use wire::recording::record::Record;

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (columns, rows, cut, bytes) = input;
    let size = Size::new(u16::from(columns), u16::from(rows));
    let mut emulator = Emulator::keeping_lines(size);
    let (before, after) = bytes.split_at(usize::from(cut).min(bytes.len()));
    emulator.feed(before);
    let first = emulator.frame();
    if let Some(keyframe) = emulator.keyframe() {
        let mut other = Emulator::from_keyframe(&keyframe);
        emulator.feed(after);
        other.feed(after);
        assert_eq!(emulator.frame().text(), other.frame().text());
    } else {
        emulator.feed(after);
    }
    emulator.resize(Size::new(u16::from(rows), u16::from(columns)));
    let window = Window { columns: u16::from(cut).max(1), rows: u16::from(rows).max(1) };
    for before in [None, Some(&first)] {
        assert!(is_harmless(&paint(before, &emulator.frame(), window)));
    }
    assert!(emulator.take_lines().iter().all(|line| !line.chars().any(char::is_control)));
    let mut read = Emulator::new(size);
    let mut harmless = |line: Line<'_>| {
        assert!(line.text.chars().all(|letter| frame::harmless(letter) == letter));
    };
    read.feed_read(before, Duration::ZERO, &mut harmless);
    read.feed_read(after, Duration::from_secs(1), &mut harmless);
    read.read_rest(&mut harmless);
    let mut keys = Keys::default();
    keys.push(before, Duration::ZERO, &mut harmless);
    keys.push(after, Duration::from_millis(u64::from(cut)), &mut harmless);
    keys.end(&mut harmless);
    if let Ok(records) = Record::read_all(bytes) {
        let mut text = Text::new(true, true);
        records.iter().for_each(|record| text.push(record, &mut harmless));
        text.finish(&mut harmless);
        let mut film = Film::default();
        records.into_iter().for_each(|record| film.push(record));
        drop(film.lines());
        for line in screen::cast::lines(&film, "title") {
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
        }
    }
});
