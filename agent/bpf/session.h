/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT */
/*
 * What crosses from the kernel to curfew-agent. Decoded by src/kernel/event.rs.
 *
 * No struct has padding. Native byte order: both sides are one machine. A change
 * here is a change of layout: raise LAYOUT, and pinned maps of the older layout
 * are refused instead of being misread.
 */
#ifndef CURFEW_SESSION_H
#define CURFEW_SESSION_H

#define LAYOUT 1

#define NAME_BYTES 256
#define TTY_BYTES 64
#define COMM_BYTES 16
#define INLINE_ARGV 512
#define CHUNK_BYTES 4096
#define MAX_CHUNKS 64 /* 256 KiB: a larger argv is cut there and says so */
#define MAX_PID_LEVELS 33 /* MAX_PID_NS_LEVEL + 1 */
#define MAX_SESSIONS 8192
#define MAX_STRAYS 4096
#define MAX_HANDED 1024

enum kind {
	KIND_FORK = 1,
	KIND_EXEC = 2,
	KIND_EXIT = 3,
	KIND_CONNECT = 4,
	KIND_LISTEN = 5,
};

enum flag {
	FLAG_ARGV_FAULT = 1 << 0, /* a page of argv could not be read */
	FLAG_ARGV_CUT = 1 << 1, /* longer than the limit */
	FLAG_ARGV_CHUNKED = 1 << 2, /* bytes are in the payload ring */
	FLAG_ARGV_LOST = 1 << 3, /* the payload ring was full */
	FLAG_SECUREEXEC = 1 << 4, /* set-id or file capabilities took effect */
	FLAG_UNLINKED = 1 << 5, /* the program has no name on disk: deleted or memfd */
	FLAG_NAME_CUT = 1 << 6,
	FLAG_NAME_FAULT = 1 << 7,
	FLAG_INTERP_CUT = 1 << 8,
	FLAG_INTERP_FAULT = 1 << 9,
	FLAG_ENDING = 1 << 10, /* the session was being ended: SIGKILL was sent */
};

/* Per task. `exited` is set once and makes the exit count exactly once. */
struct mark {
	__u64 tag;
	__u64 exec_id;
	__u32 exited;
	__u32 reserved;
};

/* Per session. `live` counts tasks, threads included. */
struct session {
	__u64 seq;
	__u64 lost_events;
	__u64 lost_chunks;
	__u32 live;
	__u32 reserved;
};

struct head {
	__u32 kind;
	__u32 flags;
	__u64 tag;
	__u64 seq;
	__u64 at_ns; /* CLOCK_BOOTTIME */
	__u64 start_ns; /* CLOCK_BOOTTIME, of the process `pid` */
	__u32 pid;
	__u32 ppid;
	__u32 uid;
	__u32 euid;
	char comm[COMM_BYTES];
};

struct fork_event {
	struct head head;
};

struct exit_event {
	struct head head;
	__u32 status; /* as wait(2) reports it */
	__u32 reserved;
};

/* A stream socket of a session: where to, or where at. */
struct socket_event {
	struct head head;
	__u8 address[16]; /* of family AF_INET the first four bytes */
	__u16 family;
	__u16 port; /* host byte order */
	__u32 reserved;
};

struct exec_event {
	struct head head;
	__u64 inode;
	__u64 cgroup;
	__u32 device; /* kernel dev_t: major << 20 | minor */
	__u32 gid;
	__u32 egid;
	__u32 loginuid;
	__u32 sessionid;
	__u32 argc;
	__u32 argv_total;
	__u32 argv_captured;
	char tty[TTY_BYTES];
	char filename[NAME_BYTES];
	char interp[NAME_BYTES];
	char argv[INLINE_ARGV];
};

struct chunk {
	__u64 tag;
	__u64 seq;
	__u32 offset;
	__u32 length;
	char bytes[CHUNK_BYTES];
};

struct member {
	__u64 tag;
	__u64 start_ns;
	__u32 pid;
	__u32 reserved;
	char comm[COMM_BYTES];
};

/*
 * Per login uid that has, or had, sessions: the tag of the work that daemons do
 * for it. While `open`, whatever such a daemon starts gets it.
 */
struct handed {
	__u64 tag;
	__u32 open;
	__u32 reserved;
};

/* Constants of one load: the verifier removes what they rule out. */
struct settings {
	__u64 generation;
	__u32 pidns_inum; /* the pid namespace that the agent lives in */
	__u8 exit_says_last; /* sched_process_exit has the argument `group_dead` */
	__u8 storage_fails; /* tests only: as if no task storage could be made */
	__u8 reserved[2];
};

/* Indexes of the array map `control`. */
enum control {
	CONTROL_GENERATION = 0,
	CONTROL_STRAYS = 1,
	CONTROL_UNKNOWN = 2,
	CONTROL_LAYOUT = 3,
	CONTROL_COUNT = 4,
};

/* The widths that src/kernel/event.rs and src/kernel/bpf.rs read. */
_Static_assert(sizeof(struct mark) == 24, "mark");
_Static_assert(sizeof(struct session) == 32, "session");
_Static_assert(sizeof(struct fork_event) == 72, "fork_event");
_Static_assert(sizeof(struct exit_event) == 80, "exit_event");
_Static_assert(sizeof(struct socket_event) == 96, "socket_event");
_Static_assert(sizeof(struct exec_event) == 1208, "exec_event");
_Static_assert(sizeof(struct chunk) == 4120, "chunk");
_Static_assert(sizeof(struct member) == 40, "member");
_Static_assert(sizeof(struct handed) == 16, "handed");
_Static_assert(sizeof(struct settings) == 16, "settings");

#endif
