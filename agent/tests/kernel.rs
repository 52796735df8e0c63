//! The kernel room on the running kernel: real forks, execs and exits against what was seen.
//!
//! Needs root, BTF and the feature `kernel-tests`. Mounts a bpffs of its own and unmounts it.
//! Every test starts a python interpreter that waits for a line, tags it as the gate would tag an
//! sshd monitor, and lets it go.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice,
    reason = "a test stops at the first surprise, helpers included"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent::kernel::bpf::Bpf;
use agent::kernel::event::{Detail, Exec, Flags};
use agent::kernel::kill::{KillPass, Target, kill};
use agent::kernel::procfs::Procfs;
use agent::kernel::{Attribution, Event, Kernel, KernelError, Losses, Tag, Tier, open};
use rustix::event::{PollFd, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[test]
fn events_are_what_was_run() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let mut runs = vec![
        vec![b"true".to_vec()],
        vec![b"true".to_vec(), vec![]],
        vec![b"true".to_vec(), vec![], vec![], b"after".to_vec(), vec![]],
        vec![b" spaces and\ttabs ".to_vec(), b"new\nline".to_vec(), b"\\ \" '".to_vec()],
        vec![b"true".to_vec(), vec![0xff, 0xfe, 0x80, 0xc3], b"\x1b[2J".to_vec()],
        vec![b"true".to_vec(), vec![b'a'; 100_000]],
        vec![b"true".to_vec(), vec![b'b'; 100_000], vec![b'c'; 100_000], vec![b'd'; 100_000]],
    ];
    // Both sides of every boundary of the capture.
    for length in [505, 506, 507, 508, 4090, 4091, 4092, 8186, 8187, 8188, 8189] {
        runs.push(vec![b"true".to_vec(), vec![b'x'; length]]);
    }
    while runs.len() < 200 {
        runs.push(vec![b"true".to_vec(), format!("run {}", runs.len()).into_bytes()]);
    }
    let mut script = String::from("import os\n");
    for argv in &runs {
        script.push_str(&format!("run({})\n", python_list(argv)));
    }
    let monitor = Monitor::start(&script);
    let tag = monitor.begin(&mut room, 0x1001);
    monitor.go();

    let events = until_empty(&mut room, tag);
    assert_contiguous(&events);
    assert_eq!(room.losses(tag).unwrap(), Losses::default());
    let execs = execs(&events);
    assert_eq!(execs.len(), runs.len());
    for (exec, argv) in execs.iter().zip(&runs) {
        let bytes: Vec<u8> = argv.iter().flat_map(|arg| [arg.as_slice(), &[0]].concat()).collect();
        assert_eq!(exec.argv.total as usize, bytes.len());
        assert_eq!(exec.argv.count as usize, argv.len());
        assert_eq!(exec.filename, b"/bin/true");
        let kept = bytes.len().min(256 << 10);
        assert!(exec.argv.bytes == bytes[..kept], "argv of {} bytes differs", bytes.len());
        assert_eq!(exec.argv.is_whole(), kept == bytes.len());
        if kept == bytes.len() {
            assert_eq!(exec.argv.args().collect::<Vec<_>>(), *argv);
        }
    }
    let cut = events.iter().filter(|event| event.flags.has(Flags::ARGV_CUT)).count();
    assert_eq!(cut, 1);
    let forks = events.iter().filter(|event| event.detail == Detail::Fork).count();
    let exits = events.iter().filter(|event| matches!(event.detail, Detail::Exit(_))).count();
    assert_eq!((forks, exits), (runs.len(), runs.len() + 1));
    room.forget(tag).unwrap();
    assert_eq!(room.known().unwrap(), []);
}

#[test]
fn exec_says_who_and_what_runs() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    fs::write(&script, "#!/bin/sh\nexit 3\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let monitor = Monitor::start(&format!(
        "import os\n\
         run(['su', '--version'], '/bin/su', 65534)\n\
         run(['x'], {script:?})\n\
         fd = os.memfd_create('hidden')\n\
         os.write(fd, open('/bin/true', 'rb').read())\n\
         if os.fork() == 0: os.execve(fd, ['hidden'], {{}})\n\
         os.wait()\n"
    ));
    let tag = monitor.begin(&mut room, 0x1002);
    monitor.go();
    let events = until_empty(&mut room, tag);
    let runs: Vec<(&Event, &Exec)> = events
        .iter()
        .filter_map(|event| match &event.detail {
            Detail::Exec(exec) => Some((event, &**exec)),
            _ => None,
        })
        .collect();

    let (event, exec) = runs[0];
    assert_eq!((exec.filename.as_slice(), event.uid, event.euid), (&b"/bin/su"[..], 65534, 0));
    assert!(event.flags.has(Flags::SECUREEXEC));
    assert_eq!(exec.inode, std::os::unix::fs::MetadataExt::ino(&fs::metadata("/bin/su").unwrap()));
    assert_eq!(event.ppid, monitor.pid());
    assert_eq!(exec.argv.args().collect::<Vec<_>>(), [&b"su"[..], b"--version"]);

    let (event, exec) = runs[1];
    assert_eq!(exec.filename, script.as_os_str().as_encoded_bytes());
    assert_eq!(exec.interp, b"/bin/sh");
    assert!(!event.flags.has(Flags::SECUREEXEC) && !event.flags.has(Flags::UNLINKED));
    let exit = events.iter().find_map(|other| match other.detail {
        Detail::Exit(status) if other.process.is(&event.process) => Some(status),
        _ => None,
    });
    assert_eq!(exit.and_then(|status| status.code()), Some(3));

    let (event, _) = runs.last().unwrap();
    assert!(event.flags.has(Flags::UNLINKED));
}

#[test]
fn who_connects_and_listens_is_seen_with_the_place() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let mut outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port();
    let monitor = Monitor::start(&format!(
        "import os, socket\n\
         one = socket.create_connection(('127.0.0.1', {port}))\n\
         two = socket.socket(socket.AF_INET6)\n\
         two.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)\n\
         two.connect(('::ffff:127.0.0.1', {port}))\n\
         three = socket.socket()\n\
         three.bind(('127.0.0.1', 0))\n\
         three.listen()\n\
         four = socket.socket(socket.AF_INET6)\n\
         four.bind(('::1', 0))\n\
         four.listen()\n\
         try:\n\
         \tsocket.create_connection(('127.0.0.1', 1))\n\
         except OSError: pass\n\
         print(three.getsockname()[1], four.getsockname()[1], flush=True)\n"
    ));
    let tag = monitor.begin(&mut room, 0x1010);
    monitor.go();
    let said = monitor.line();
    let [three, four] = said
        .split(' ')
        .map(|port| port.parse::<u16>().unwrap())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    // What no session does is not seen, whoever it is.
    drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    outside = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(outside);
    let events = until_empty(&mut room, tag);
    assert_contiguous(&events);
    let sockets: Vec<(bool, String, u16)> = events
        .iter()
        .filter_map(|event| match event.detail {
            Detail::Socket(socket) => {
                assert_eq!(event.process.comm(), "python3");
                Some((socket.connects, socket.address.unwrap().to_string(), socket.port))
            }
            _ => None,
        })
        .collect();
    let here = |connects, address: &str, port| (connects, address.to_owned(), port);
    assert_eq!(
        sockets,
        [
            here(true, "127.0.0.1", port),
            here(true, "127.0.0.1", port),
            here(false, "127.0.0.1", three),
            here(false, "::1", four),
            here(true, "127.0.0.1", 1),
        ]
    );
}

#[test]
fn tag_follows_whatever_keeps_parentage() {
    for storage in [Bpf::open, Bpf::open_without_storage] {
        let fs = BpfFs::mount();
        let mut room = storage(&fs.pins()).unwrap();
        let monitor = Monitor::start(
            "import os, sys, threading, time\n\
             def hold(): time.sleep(1000)\n\
             for _ in range(4): threading.Thread(target=hold, daemon=True).start()\n\
             if os.fork() == 0:\n\
             \tos.setsid()\n\
             \tif os.fork(): os._exit(0)\n\
             \tthreading.Thread(target=lambda: os.execv('/bin/sleep', ['sleep', '1000'])).start()\n\
             \thold()\n\
             os.wait()\n\
             print('ready', flush=True)\n\
             hold()\n",
        );
        let tag = monitor.begin(&mut room, 0x1003);
        monitor.go();
        monitor.expect("ready");
        // The interpreter with 4 threads, and the daemon whose thread became sleep.
        eventually(|| room.live(tag).unwrap() == 6 && room.members(tag).unwrap().len() == 2);
        let daemon_of = |room: &Bpf| {
            let members = room.members(tag).unwrap();
            members.into_iter().find(|member| member.pid() != monitor.pid())
        };
        eventually(|| daemon_of(&room).is_some_and(|daemon| daemon.comm() == "sleep"));
        let daemon = &daemon_of(&room).unwrap();
        let pidfd = pidfd(daemon.pid());
        assert_eq!(room.tag_of(pidfd.as_fd()).unwrap(), Some(tag));
        assert_eq!(room.tag_of(pidfd_of_self().as_fd()).unwrap(), None);
        assert!(room.hold(tag, daemon).unwrap().is_some());
        assert!(matches!(room.forget(tag), Err(KernelError::Alive { live: 6, .. })));

        let passes = kill_all(&mut room, &monitor, tag, None);
        assert!(passes.last().unwrap().is_over());
        let mut events = Vec::new();
        drain(&mut room, &mut events);
        assert_contiguous(&events);
        room.forget(tag).unwrap();
    }
}

#[test]
fn fork_storm_dies_and_a_bystander_lives() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let mut bystander = Bystander::start();
    let monitor = Monitor::start(STORM);
    let tag = monitor.begin(&mut room, 0x1004);
    monitor.go();
    eventually(|| room.members(tag).unwrap().len() > 250);

    let start = monotonic();
    let passes = kill_all(&mut room, &monitor, tag, None);
    let took = monotonic() - start;
    println!("storm: {took:?}, {} passes", passes.len());
    for pass in &passes {
        println!("  signalled {}, left {}", pass.struck.len(), pass.survivors.len());
        assert!(pass.faults.is_empty(), "{:?}", pass.faults);
    }
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(bystander.lives());
}

#[test]
fn marked_session_can_only_shrink() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let fork = Monitor::start("import os\nif os.fork() == 0:\n\tos.write(9, b'x')\nos.wait()\n");
    let exec = Monitor::start("import os\nos.execv('/bin/sleep', ['sleep', '1000'])\n");
    for (monitor, number) in [(&fork, 0x1005), (&exec, 0x1006)] {
        let tag = monitor.begin(&mut room, number);
        room.mark_ending(tag).unwrap();
        monitor.go();
        let events = until_empty(&mut room, tag);
        assert!(events.iter().any(|event| event.flags.has(Flags::ENDING)));
        for event in &events {
            if let Detail::Exit(status) = event.detail {
                assert_eq!(status.signal(), Some(9));
            }
        }
    }
}

#[test]
fn nothing_is_missed_when_both_cpus_fork_and_exec() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let monitor = Monitor::start(
        "import os\n\
         for worker in range(8):\n\
         \tif os.fork() == 0:\n\
         \t\tfor i in range(150): run(['true', f'{worker}.{i}', 'z' * (i * 7)])\n\
         \t\tos._exit(0)\n\
         for worker in range(8): os.wait()\n",
    );
    let tag = monitor.begin(&mut room, 0x1030);
    monitor.go();
    let events = until_empty(&mut room, tag);
    assert_contiguous(&events);
    assert_eq!(room.losses(tag).unwrap(), Losses::default());
    assert_eq!(events.len(), 8 * 150 * 3 + 8 * 2 + 1);
    let execs = execs(&events);
    let names: BTreeSet<&[u8]> = execs.iter().filter_map(|exec| exec.argv.args().nth(1)).collect();
    assert_eq!(names.len(), 8 * 150);
    for exec in execs {
        let args: Vec<&[u8]> = exec.argv.args().collect();
        let run: usize = std::str::from_utf8(args[1]).unwrap()[2..].parse().unwrap();
        assert_eq!(args[2], vec![b'z'; run * 7]);
    }
}

#[tokio::test]
#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays open")]
async fn readiness_wakes_a_runtime() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let epoll = room.readiness().unwrap();
    // SAFETY: the room owns the descriptor and is dropped after `ready`, which is made after it.
    let ready = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }.unwrap();
    let monitor = Monitor::start("run(['true'])\nsys.stdin.readline()\nrun(['true'])\n");
    let tag = monitor.begin(&mut room, 0x1031);
    let quiet = tokio::time::timeout(Duration::from_millis(50), ready.readable()).await;
    assert!(quiet.is_err());
    for runs in [1, 2] {
        monitor.go();
        let mut events = Vec::new();
        while execs(&events).is_empty() {
            let woken = tokio::time::timeout(Duration::from_secs(10), ready.readable()).await;
            drain(&mut room, &mut events);
            woken.unwrap().unwrap().clear_ready();
        }
        assert_eq!(execs(&events).len(), 1, "run {runs}");
    }
    eventually(|| room.live(tag).unwrap() == 0);
}

#[test]
fn a_new_agent_goes_on_where_a_killed_one_stopped() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let monitor = Monitor::start(
        "import os, sys\n\
         for i in range(400): run(['true', str(i)])\n\
         print('half', flush=True)\n\
         sys.stdin.readline()\n\
         for i in range(400, 800): run(['true', str(i)])\n",
    );
    let tag = monitor.begin(&mut room, 0x1007);
    monitor.go();
    let mut events = Vec::new();
    // Taken over again and again while it runs.
    for _ in 0..5 {
        let before = events.len();
        eventually(|| {
            drain(&mut room, &mut events);
            events.len() > before + 20
        });
        drop(room);
        room = Bpf::open(&fs.pins()).unwrap();
    }
    monitor.expect("half");
    drop(room);
    monitor.go();
    eventually(|| monitor.has_ended());

    let mut room = Bpf::open(&fs.pins()).unwrap();
    assert_eq!(room.known().unwrap(), [(tag, 0)]);
    drain(&mut room, &mut events);
    events.sort_by_key(|event| event.seq);
    assert_contiguous(&events);
    assert_eq!(events.len(), 800 * 3 + 1);
    for (index, exec) in execs(&events).iter().enumerate() {
        assert_eq!(exec.argv.args().nth(1), Some(index.to_string().as_bytes()));
    }
    assert_eq!(room.losses(tag).unwrap(), Losses::default());
    let generations = fs::read_dir(fs.pins()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("links-")
    });
    assert_eq!(generations.count(), 1);
}

#[test]
fn tags_survive_without_an_agent() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let monitor = Monitor::start(
        "import os, time\nif os.fork(): time.sleep(1000)\nos.setsid()\nif os.fork(): os._exit(0)\n\
         time.sleep(1000)\n",
    );
    let tag = monitor.begin(&mut room, 0x1008);
    drop(room);
    monitor.go();

    let mut room = Bpf::open(&fs.pins()).unwrap();
    eventually(|| {
        let members = room.members(tag).unwrap();
        members.len() == 2 && room.live(tag).unwrap() == 2
    });
    // A gate that asks again after the restart changes nothing.
    monitor.begin(&mut room, 0x1008);
    assert_eq!(room.known().unwrap(), [(tag, 2)]);
    kill_all(&mut room, &monitor, tag, None);
}

#[test]
fn a_full_ring_is_counted_and_leaves_a_gap() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let monitor = Monitor::start("for i in range(5000): run(['true', 'y' * 700])\n");
    let tag = monitor.begin(&mut room, 0x1009);
    monitor.go();
    eventually_within(Duration::from_secs(120), || monitor.has_ended());
    let mut events = Vec::new();
    drain(&mut room, &mut events);
    let losses = room.losses(tag).unwrap();
    assert!(losses.events > 0 && losses.chunks > 0, "{losses:?}");
    // Every number was given to an event that was read or to one that was counted as lost.
    let last = 5000 * 3 + 1;
    assert_eq!(events.len() as u64 + losses.events, last);
    let short = events.iter().filter(|event| event.flags.has(Flags::ARGV_LOST)).count();
    assert!(short as u64 <= losses.chunks);
    assert_eq!(room.live(tag).unwrap(), 0);
}

#[test]
fn what_a_daemon_starts_for_a_login_gets_the_tag_of_its_handed_work() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let daemon = |uid: u32, rounds: &str| {
        Monitor::start(&format!(
            "open('/proc/self/loginuid', 'w').write('{uid}')\n\
             for _ in range({rounds}):\n\
             \tif os.fork() == 0: os.execv('/bin/sh', ['sh', '-c', 'sleep 60 & wait'])\n\
             print('started', flush=True)\n\
             sys.stdin.readline()\n"
        ))
    };
    let tag = Tag::new(0x4a00).unwrap();
    room.hand(77_001, tag, true).unwrap();
    assert_eq!(room.handed().unwrap(), [(77_001, tag)]);
    let (of_login, of_another) = (daemon(77_001, "2"), daemon(77_002, "1"));
    for daemon in [&of_login, &of_another] {
        daemon.go();
        daemon.expect("started");
    }
    // Two shells and what they start; neither the daemon itself nor what another login does.
    eventually(|| room.members(tag).unwrap().len() == 4);
    assert_eq!(room.tag_of(of_login.pidfd()).unwrap(), None);
    let mut events = Vec::new();
    // What was forked is a member before it has become what it runs.
    eventually(|| {
        drain(&mut room, &mut events);
        execs(&events).iter().filter(|exec| exec.loginuid == Some(77_001)).count() == 4
    });
    assert!(events.iter().all(|event| event.tag == tag));

    // Closed, it takes in nobody new; over a restart it stays known.
    room.hand(77_001, tag, false).unwrap();
    let late = daemon(77_001, "1");
    late.go();
    late.expect("started");
    drop(room);
    let mut room = Bpf::open(&fs.pins()).unwrap();
    assert_eq!(room.handed().unwrap(), [(77_001, tag)]);
    assert_eq!(room.live(tag).unwrap(), 4);
    let target = Target { tag, monitor: None, scope: None, spare_sshd: None };
    eventually(|| kill(&mut room, &target).is_over());
    assert!(!of_another.has_ended() && !late.has_ended());
    room.unhand(77_001).unwrap();
    room.unhand(77_001).unwrap();
    room.forget(tag).unwrap();
    assert_eq!((room.handed().unwrap(), room.known().unwrap()), (vec![], vec![]));
}

#[test]
fn one_agent_holds_the_pins() {
    let fs = BpfFs::mount();
    let room = Bpf::open(&fs.pins()).unwrap();
    assert!(matches!(Bpf::open(&fs.pins()), Err(KernelError::Held(_))));
    assert!(matches!(open(Attribution::Probe, &fs.pins()), Err(KernelError::Held(_))));
    drop(room);
    let room = open(Attribution::Probe, &fs.pins()).unwrap();
    assert_eq!(*room.tier(), Tier::Full);
}

#[test]
fn another_layout_is_refused() {
    use libbpf_rs::{MapCore as _, MapFlags, MapHandle};
    let fs = BpfFs::mount();
    drop(Bpf::open(&fs.pins()).unwrap());
    let control = MapHandle::from_pinned_path(fs.pins().join("control")).unwrap();
    control.update(&3_u32.to_ne_bytes(), &99_u64.to_ne_bytes(), MapFlags::ANY).unwrap();
    let refused = open(Attribution::Probe, &fs.pins()).unwrap_err();
    assert!(matches!(refused, KernelError::Layout { .. }));
    assert!(refused.to_string().contains("99 instead of 1"), "{refused}");
}

#[test]
fn what_is_taken_out_of_the_kernel_is_named_and_a_session_is_counted_again() {
    use libbpf_rs::{MapCore as _, MapHandle};
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    assert_eq!(room.trouble(), None);
    let monitor = Monitor::start("import time\ntime.sleep(600)\n");
    let tag = monitor.begin(&mut room, 0x1011);
    let sessions = MapHandle::from_pinned_path(fs.pins().join("sessions")).unwrap();
    sessions.delete(&tag.number().to_ne_bytes()).unwrap();
    assert!(matches!(room.live(tag), Err(KernelError::Unknown(_))));
    assert_eq!(room.remember(tag).unwrap(), 1);
    assert_eq!(room.live(tag).unwrap(), 1);
    let nobody = Tag::new(0x1012).unwrap();
    assert_eq!(room.remember(nobody).unwrap(), 0);
    assert!(matches!(room.live(nobody), Err(KernelError::Unknown(_))));
    // It ends as any other does.
    kill_all(&mut room, &monitor, tag, None);
    fs::remove_file(fs.pins().join("tags")).unwrap();
    assert!(room.trouble().unwrap().contains("tags is gone"), "{:?}", room.trouble());
}

#[test]
fn what_cannot_load_is_declared() {
    let dir = tempfile::tempdir().unwrap();
    let room = open(Attribution::Probe, &dir.path().join("pins")).unwrap();
    let Tier::Degraded { why } = room.tier() else { panic!("not degraded") };
    assert!(why.contains("not on a bpffs"), "{why}");
    let room = open(Attribution::Audit, Path::new("/sys/fs/bpf/curfew")).unwrap();
    let Tier::Degraded { why } = room.tier() else { panic!("not degraded") };
    assert!(why.contains("configuration"), "{why}");
}

#[test]
fn begin_refuses_what_it_cannot_tag_whole() {
    let fs = BpfFs::mount();
    let full: Box<dyn Kernel> = Box::new(Bpf::open(&fs.pins()).unwrap());
    for mut room in [full, Box::new(Procfs::new("test".to_owned())) as Box<dyn Kernel>] {
        let threads = Monitor::start_ready(
            "import threading, time\n\
             threading.Thread(target=lambda: time.sleep(1000), daemon=True).start()\n",
        );
        let refused = room.begin(Tag::new(1).unwrap(), threads.pidfd()).unwrap_err();
        assert!(matches!(refused, KernelError::Threads { threads: 2, .. }), "{refused}");
        assert_eq!(room.known().unwrap(), []);

        let one = Monitor::start("");
        let two = Monitor::start("");
        let tag = one.begin(&mut *room, 2);
        let again = room.begin(Tag::new(3).unwrap(), one.pidfd()).unwrap_err();
        assert!(matches!(again, KernelError::AlreadyTagged(known) if known == tag), "{again}");
        let reused = room.begin(tag, two.pidfd()).unwrap_err();
        assert!(matches!(reused, KernelError::TagInUse(_)), "{reused}");

        two.go();
        eventually(|| two.has_ended());
        let gone = room.begin(Tag::new(4).unwrap(), two.pidfd()).unwrap_err();
        assert!(matches!(gone, KernelError::Gone), "{gone}");
        assert!(matches!(room.live(Tag::new(9).unwrap()), Err(KernelError::Unknown(_))));
    }
}

#[test]
fn a_cgroup_is_killed_only_when_it_holds_nobody_else() {
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    let own = Cgroup::make("session-71.scope");
    let shared = Cgroup::make("session-72.scope");
    let monitor = Monitor::start(&format!(
        "import os, time\n\
         if os.fork() == 0:\n\
         \topen({:?}, 'w').write('0')\n\
         \ttime.sleep(1000)\n\
         if os.fork() == 0:\n\
         \topen({:?}, 'w').write('0')\n\
         \ttime.sleep(1000)\n\
         time.sleep(1000)\n",
        own.procs(),
        shared.procs(),
    ));
    let mut bystander = Bystander::start();
    fs::write(shared.procs(), bystander.0.id().to_string()).unwrap();
    let tag = monitor.begin(&mut room, 0x1010);
    monitor.go();
    eventually(|| own.pids().len() == 1 && shared.pids().len() == 2);

    let passes = kill_all(&mut room, &monitor, tag, Some(&own.path));
    assert_eq!(passes[0].cgroups_killed, 1);
    assert!(passes[0].cgroups_shared >= 1);
    assert!(bystander.lives());
}

#[test]
fn degraded_tier_kills_by_audit_session_scope_and_descent() {
    let _turn = turn();
    let mut room = Procfs::new("test".to_owned());
    let scope = Cgroup::make("session-73.scope");
    let monitor = Monitor::start(&format!(
        "import os, sys, time\n\
         def daemon(escape):\n\
         \tif os.fork(): return os.wait()\n\
         \tos.setsid()\n\
         \tif os.fork(): os._exit(0)\n\
         \tescape()\n\
         \ttime.sleep(1000)\n\
         def leave_audit(): open('/proc/self/loginuid', 'w').write('4294967295')\n\
         def leave_scope(): open({:?}, 'w').write('0')\n\
         open('/proc/self/loginuid', 'w').write('12345')\n\
         open({:?}, 'w').write('0')\n\
         print('marked', flush=True)\n\
         sys.stdin.readline()\n\
         daemon(leave_audit)\n\
         daemon(leave_scope)\n\
         if os.fork() == 0:\n\
         \tleave_audit(); leave_scope()\n\
         \ttime.sleep(1000)\n\
         print('ready', flush=True)\n\
         time.sleep(1000)\n",
        scope.outside().join("cgroup.procs"),
        scope.procs(),
    ));
    let tag = monitor.begin(&mut room, 0x1011);
    let mut bystander = Bystander::start();
    monitor.go();
    monitor.expect("marked");
    assert_eq!(room.live(tag).unwrap(), 1);
    monitor.go();
    monitor.expect("ready");
    eventually(|| room.live(tag).unwrap() == 4);
    for member in room.members(tag).unwrap() {
        let found = room.tag_of(pidfd(member.pid()).as_fd()).unwrap();
        assert_eq!(found, Some(tag), "{member:?}");
    }
    assert_eq!(room.tag_of(pidfd(bystander.0.id()).as_fd()).unwrap(), None);

    kill_all(&mut room, &monitor, tag, None);
    assert!(bystander.lives());
    room.forget(tag).unwrap();
}

#[test]
fn degraded_tier_ends_a_fork_storm_in_its_scope() {
    let _turn = turn();
    let mut room = Procfs::new("test".to_owned());
    let scope = Cgroup::make("session-74.scope");
    let monitor = Monitor::start(&format!(
        "open({:?}, 'w').write('0')\n\
         print('marked', flush=True)\n\
         sys.stdin.readline()\n{STORM}",
        scope.procs()
    ));
    let tag = monitor.begin(&mut room, 0x1032);
    monitor.go();
    monitor.expect("marked");
    assert_eq!(room.live(tag).unwrap(), 1);
    monitor.go();
    eventually(|| scope.pids().len() > 250);
    let start = monotonic();
    let passes = kill_all(&mut room, &monitor, tag, None);
    println!("degraded storm: {:?}, {} passes", monotonic() - start, passes.len());
    assert_eq!(scope.pids(), Vec::<String>::new());
}

#[test]
#[ignore = "prints figures; run alone with --ignored --nocapture"]
fn figures() {
    let before = resident_kib();
    let fs = BpfFs::mount();
    let mut room = Bpf::open(&fs.pins()).unwrap();
    println!("resident: {before} KiB without, {} KiB with the room", resident_kib());
    for (number, count) in [(0x1020, 200), (0x1021, 1000)] {
        let monitor = Monitor::start(&format!(
            "import os, time\n\
             for _ in range({count} - 1):\n\
             \tif os.fork() == 0:\n\
             \t\tos.setsid()\n\
             \t\ttime.sleep(1000)\n\
             time.sleep(1000)\n"
        ));
        let tag = monitor.begin(&mut room, number);
        monitor.go();
        eventually(|| room.members(tag).unwrap().len() == count);
        let start = monotonic();
        let listed = room.members(tag).unwrap().len();
        let list = monotonic() - start;
        let start = monotonic();
        let passes = kill_all(&mut room, &monitor, tag, None);
        println!(
            "{listed} processes: members() {list:?}; kill to empty {:?} in {} passes",
            monotonic() - start,
            passes.len()
        );
        let mut events = Vec::new();
        drain(&mut room, &mut events);
    }
    println!("resident: {} KiB at the end", resident_kib());
}

/// 300 lines of descent, each of which never stays one process for long.
const STORM: &str = "import os, time\n\
     for _ in range(300):\n\
     \tif os.fork() == 0: break\n\
     else: time.sleep(1000)\n\
     while True:\n\
     \tos.setsid() if os.getsid(0) != os.getpid() else None\n\
     \ttime.sleep(0.02)\n\
     \tif os.fork(): os._exit(0)\n";

/// The tests take turns, because each loads the whole machine.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who is no part of any session.
struct Bystander(Child);

impl Bystander {
    fn start() -> Self {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(sleep.spawn().unwrap())
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A bpffs of one test.
struct BpfFs {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl BpfFs {
    fn mount() -> Self {
        let turn = turn();
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(dir.path()).status();
        assert!(mounted.unwrap().success(), "cannot mount a bpffs: are we root?");
        Self { dir, _turn: turn }
    }

    fn pins(&self) -> PathBuf {
        self.dir.path().join("curfew")
    }
}

impl Drop for BpfFs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "cannot unmount the bpffs");
    }
}

/// A cgroup below one of our own, removed with it.
struct Cgroup {
    folder: PathBuf,
    path: String,
}

impl Cgroup {
    fn make(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let root = PathBuf::from(line.split(' ').nth(4).unwrap());
        let path = format!("/curfew-test-{}/{name}", std::process::id());
        let folder = root.join(&path[1..]);
        fs::create_dir_all(&folder).unwrap();
        Self { folder, path }
    }

    fn procs(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    fn outside(&self) -> &Path {
        self.folder.parent().and_then(Path::parent).unwrap()
    }

    fn pids(&self) -> Vec<String> {
        fs::read_to_string(self.procs()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if eventually_or_not(|| fs::remove_dir(&self.folder).is_ok()) {
            // The folder above goes with its last child.
            drop(fs::remove_dir(self.folder.parent().unwrap()));
        }
    }
}

/// A process that waits for a line before it runs its script, as a monitor waits for the gate.
struct Monitor {
    child: Mutex<Child>,
    output: Mutex<BufReader<ChildStdout>>,
    pidfd: OwnedFd,
}

impl Monitor {
    fn start(script: &str) -> Self {
        Self::spawn(&format!("{PRELUDE}sys.stdin.readline()\n{script}"))
    }

    /// Runs the script first, then waits.
    fn start_ready(script: &str) -> Self {
        let wait = "print('ready', flush=True)\nsys.stdin.readline()\n";
        let monitor = Self::spawn(&format!("{PRELUDE}{script}{wait}"));
        monitor.expect("ready");
        monitor
    }

    fn spawn(script: &str) -> Self {
        // A script of its own file: one argument may not be as long as some of them are.
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        let mut child = Command::new("python3")
            .args(["-S", "-c", "import sys; exec(open(sys.argv[1]).read())"])
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        let pidfd = pidfd(child.id());
        Self { child: Mutex::new(child), output: Mutex::new(output), pidfd }
    }

    fn begin(&self, room: &mut dyn Kernel, number: u64) -> Tag {
        let tag = Tag::new(number).unwrap();
        room.begin(tag, self.pidfd()).unwrap();
        tag
    }

    fn go(&self) {
        let mut child = self.child.lock().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn line(&self) -> String {
        let mut line = String::new();
        self.output.lock().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn expect(&self, word: &str) {
        let mut line = String::new();
        self.output.lock().unwrap().read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), word);
    }

    fn has_ended(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_some()
    }

    fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        drop(child.kill());
        drop(child.wait());
    }
}

const PRELUDE: &str = "import os, sys\n\
     def run(argv, path='/bin/true', uid=None):\n\
     \tpid = os.fork()\n\
     \tif pid == 0:\n\
     \t\ttry:\n\
     \t\t\tos.dup2(os.open('/dev/null', os.O_WRONLY), 1)\n\
     \t\t\tif uid: os.setuid(uid)\n\
     \t\t\tos.execv(path, argv)\n\
     \t\tfinally: os._exit(99)\n\
     \tos.waitpid(pid, 0)\n\
     print('up', flush=True)\n";

/// Passes until nobody is left, as the agent's timer would.
fn kill_all(
    room: &mut dyn Kernel,
    monitor: &Monitor,
    tag: Tag,
    scope: Option<&str>,
) -> Vec<KillPass> {
    let mut passes = Vec::new();
    let target = Target { tag, monitor: Some(monitor.pidfd()), scope, spare_sshd: None };
    eventually(|| {
        passes.push(kill(room, &target));
        passes.last().unwrap().is_over()
    });
    passes
}

/// Drains until the session has nobody left, and then the rest.
fn until_empty(room: &mut Bpf, tag: Tag) -> Vec<Event> {
    let mut events = Vec::new();
    eventually_within(Duration::from_secs(60), || {
        drain(room, &mut events);
        room.live(tag).unwrap() == 0
    });
    drain(room, &mut events);
    events.sort_by_key(|event| event.seq);
    events
}

fn drain(room: &mut Bpf, events: &mut Vec<Event>) {
    loop {
        let before = events.len();
        room.drain(events).unwrap();
        if events.len() == before {
            return;
        }
    }
}

/// Every number from 0 on, once; and every process has a number in our pid namespace.
fn assert_contiguous(events: &[Event]) {
    let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event.process.pid() != 0));
}

fn execs(events: &[Event]) -> Vec<&Exec> {
    events
        .iter()
        .filter_map(|event| match &event.detail {
            Detail::Exec(exec) => Some(&**exec),
            _ => None,
        })
        .collect()
}

fn python_list(argv: &[Vec<u8>]) -> String {
    let args: Vec<String> = argv.iter().map(|arg| format!("b\"{}\"", arg.escape_ascii())).collect();
    format!("[{}]", args.join(", "))
}

fn pidfd(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

fn pidfd_of_self() -> OwnedFd {
    pidfd(std::process::id())
}

fn resident_kib() -> u64 {
    let mut status = String::new();
    fs::File::open("/proc/self/status").unwrap().read_to_string(&mut status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn eventually(condition: impl FnMut() -> bool) {
    eventually_within(Duration::from_secs(20), condition);
}

fn eventually_within(limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = monotonic() + limit;
    while !condition() {
        assert!(monotonic() < deadline, "did not happen within {limit:?}");
        pause();
    }
}

fn eventually_or_not(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = monotonic() + Duration::from_secs(2);
    while !condition() {
        if monotonic() > deadline {
            return false;
        }
        pause();
    }
    true
}

fn pause() {
    let none: &mut [PollFd<'_>] = &mut [];
    let short = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    poll(none, Some(&short)).unwrap();
}

fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap()
}
