// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 OR MIT
/*
 * What tags, sees and holds the processes of a session.
 *
 * A session is a random number, its tag, in the storage of every task that
 * descends from the sshd monitor. Tasks without a tag cost one lookup and emit
 * nothing. Programs attach to sched tracepoints only, so no system call of the
 * host gets slower.
 *
 * Two generations of these programs can be attached at once while the agent is
 * replaced. Only the one named in `control` acts, and each action can be done
 * twice without being counted twice.
 *
 * Events are built in ring buffer memory, never in per-CPU scratch space: BPF
 * programs are preemptible.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "session.h"

#define SIGKILL 9
#define SIGNAL_GROUP_EXIT 4
#define AF_INET 2
#define AF_INET6 10
#define TCP_SYN_SENT 2
#define TCP_LISTEN 10

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Set by the agent before loading. */
const volatile struct settings settings = {};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} tags SEC(".maps");

/* Marks of tasks whose storage could not be made, by address of the task. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STRAYS);
	__type(key, __u64);
	__type(value, struct mark);
} strays SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u64);
	__type(value, struct session);
} sessions SEC(".maps");

/* Sessions whose tasks may neither fork nor exec any more. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_SESSIONS);
	__type(key, __u64);
	__type(value, __u32);
} ending SEC(".maps");

/* Whose untagged execs are work handed to a daemon, by login uid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_HANDED);
	__type(key, __u32);
	__type(value, struct handed);
} handed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CONTROL_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} control SEC(".maps");

/* Small events never wait behind large arguments: two rings. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} payload SEC(".maps");

extern int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type,
				__u64 value) __ksym __weak;

static __always_inline __u64 *control_at(__u32 index)
{
	return bpf_map_lookup_elem(&control, &index);
}

static __always_inline bool acting(void)
{
	__u64 *active = control_at(CONTROL_GENERATION);

	return active && *active == settings.generation;
}

/* Field walks below go through bpf_probe_read_kernel: no trust in any pointer. */
static __always_inline __u32 pid_in_agent_ns(struct task_struct *leader)
{
	struct pid *pid = BPF_CORE_READ(leader, thread_pid);
	const char *numbers = (const char *)&pid->numbers[0];
	__u32 level = BPF_CORE_READ(pid, level);

	if (!pid)
		return 0;
	for (__u32 i = 0; i < MAX_PID_LEVELS; i++) {
		struct upid *upid = (void *)(numbers + i * bpf_core_type_size(struct upid));

		if (i > level)
			break;
		if (BPF_CORE_READ(upid, ns, ns.inum) == settings.pidns_inum)
			return BPF_CORE_READ(upid, nr);
	}
	return 0;
}

static __always_inline __u32 ppid_of(struct task_struct *leader)
{
	return pid_in_agent_ns(BPF_CORE_READ(leader, real_parent, group_leader));
}

static __always_inline struct mark *stray_of(struct task_struct *task)
{
	__u64 *count = control_at(CONTROL_STRAYS);
	__u64 key = (__u64)task;

	if (!count || !*count)
		return 0;
	return bpf_map_lookup_elem(&strays, &key);
}

static __always_inline struct mark *mark_of(struct task_struct *task)
{
	struct mark *mark = bpf_task_storage_get(&tags, task, 0, 0);

	return mark ? mark : stray_of(task);
}

static __always_inline bool is_ending(__u64 tag)
{
	return bpf_map_lookup_elem(&ending, &tag) != 0;
}

static __always_inline struct session *session_of(__u64 tag)
{
	struct session *session = bpf_map_lookup_elem(&sessions, &tag);

	if (!session) {
		__u64 *unknown = control_at(CONTROL_UNKNOWN);

		if (unknown)
			__sync_fetch_and_add(unknown, 1);
	}
	return session;
}

static __always_inline void kill_other(struct task_struct *task)
{
	if (bpf_send_signal_task)
		bpf_send_signal_task(task, SIGKILL, PIDTYPE_TGID, 0);
}

/*
 * Storage creation can fail: out of memory, or this CPU was preempted inside
 * another storage operation. Then the mark goes to a preallocated table, and
 * when that fails too, the child is not allowed to live untagged.
 */
static __always_inline bool tag_child(struct task_struct *child, __u64 tag, __u64 exec_id)
{
	struct mark mark = { .tag = tag, .exec_id = exec_id };
	__u64 key = (__u64)child;
	__u64 *count;

	if (!settings.storage_fails &&
	    bpf_task_storage_get(&tags, child, &mark, BPF_LOCAL_STORAGE_GET_F_CREATE))
		return true;
	count = control_at(CONTROL_STRAYS);
	if (!count)
		return false;
	__sync_fetch_and_add(count, 1);
	if (!bpf_map_update_elem(&strays, &key, &mark, BPF_NOEXIST))
		return true;
	__sync_fetch_and_add(count, -1);
	return false;
}

static __always_inline void drop_stray(struct task_struct *task)
{
	__u64 *count = control_at(CONTROL_STRAYS);
	__u64 key = (__u64)task;

	if (count && *count && !bpf_map_delete_elem(&strays, &key))
		__sync_fetch_and_add(count, -1);
}

static __always_inline void fill_head(struct head *head, struct task_struct *task, __u64 tag,
				      __u64 seq)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	head->flags = 0;
	head->tag = tag;
	head->seq = seq;
	head->at_ns = bpf_ktime_get_boot_ns();
	head->start_ns = BPF_CORE_READ(leader, start_boottime);
	head->pid = pid_in_agent_ns(leader);
	head->ppid = ppid_of(leader);
	head->uid = BPF_CORE_READ(task, cred, uid.val);
	head->euid = BPF_CORE_READ(task, cred, euid.val);
	BPF_CORE_READ_INTO(&head->comm, task, comm);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct fork_event *event;
	struct session *session;
	struct mark *mark, *old;
	__u64 tag, seq;
	bool doomed;

	if (!acting())
		return 0;
	mark = mark_of(parent);
	if (!mark || !mark->tag)
		return 0;
	tag = mark->tag;
	old = mark_of(child);
	if (old)
		return 0; /* the other generation was here */

	session = session_of(tag);
	if (session)
		__sync_fetch_and_add(&session->live, 1);
	doomed = is_ending(tag);
	if (!tag_child(child, tag, BPF_CORE_READ(child, self_exec_id))) {
		if (session) {
			__sync_fetch_and_add(&session->live, -1);
			__sync_fetch_and_add(&session->lost_events, 1);
		}
		doomed = true;
	}
	if (doomed) {
		bpf_send_signal(SIGKILL);
		kill_other(child);
	}
	if (!session || child->pid != child->tgid)
		return 0;

	seq = __sync_fetch_and_add(&session->seq, 1);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&session->lost_events, 1);
		return 0;
	}
	fill_head(&event->head, child, tag, seq);
	event->head.kind = KIND_FORK;
	if (doomed)
		event->head.flags |= FLAG_ENDING;
	bpf_ringbuf_submit(event, 0);
	return 0;
}


/* Returns how many bytes from the start of argv reached the ring. */
static __always_inline __u32 send_chunks(struct session *session, struct head *head, __u64 start,
					 __u32 total)
{
	__u32 sent = 0;

	for (__u32 i = 0; i < MAX_CHUNKS; i++) {
		__u32 offset = i * CHUNK_BYTES;
		struct chunk *chunk;
		__u32 length;

		if (offset >= total)
			break;
		length = total - offset;
		if (length > CHUNK_BYTES)
			length = CHUNK_BYTES;
		chunk = bpf_ringbuf_reserve(&payload, sizeof(*chunk), 0);
		if (!chunk) {
			__sync_fetch_and_add(&session->lost_chunks, 1);
			head->flags |= FLAG_ARGV_LOST;
			break;
		}
		if (bpf_probe_read_user(chunk->bytes, length, (void *)(start + offset))) {
			bpf_ringbuf_discard(chunk, 0);
			head->flags |= FLAG_ARGV_FAULT;
			break;
		}
		chunk->tag = head->tag;
		chunk->seq = head->seq;
		chunk->offset = offset;
		chunk->length = length;
		bpf_ringbuf_submit(chunk, 0);
		sent = offset + length;
	}
	return sent;
}

/*
 * The new image's own copy of its arguments, made by the kernel: the caller of
 * execve has no pointer into it any more.
 */
static __always_inline void fill_argv(struct session *session, struct exec_event *event,
				      struct task_struct *task)
{
	__u64 start = BPF_CORE_READ(task, mm, arg_start);
	__u64 length = BPF_CORE_READ(task, mm, arg_end) - start;
	__u32 total = length > 0xffffffffULL ? 0xffffffff : length;

	event->argv_total = total;
	event->argv_captured = 0;
	if (total > INLINE_ARGV) {
		event->head.flags |= FLAG_ARGV_CHUNKED;
		if (total > MAX_CHUNKS * CHUNK_BYTES)
			event->head.flags |= FLAG_ARGV_CUT;
		event->argv_captured = send_chunks(session, &event->head, start, total);
	} else if (bpf_probe_read_user(event->argv, total, (void *)start)) {
		event->head.flags |= FLAG_ARGV_FAULT;
	} else {
		event->argv_captured = total;
	}
}

static __always_inline void fill_names(struct exec_event *event, struct linux_binprm *bprm)
{
	long length;

	length = bpf_probe_read_kernel_str(event->filename, NAME_BYTES,
					   BPF_CORE_READ(bprm, filename));
	if (length < 0)
		event->head.flags |= FLAG_NAME_FAULT;
	else if (length == NAME_BYTES)
		event->head.flags |= FLAG_NAME_CUT;
	length = bpf_probe_read_kernel_str(event->interp, NAME_BYTES, BPF_CORE_READ(bprm, interp));
	if (length < 0)
		event->head.flags |= FLAG_INTERP_FAULT;
	else if (length == NAME_BYTES)
		event->head.flags |= FLAG_INTERP_CUT;
}

static __always_inline void fill_program(struct exec_event *event, struct task_struct *task,
					 struct linux_binprm *bprm)
{
	struct inode *inode = BPF_CORE_READ(bprm, file, f_inode);
	struct tty_struct *tty = BPF_CORE_READ(task, signal, tty);

	event->inode = BPF_CORE_READ(inode, i_ino);
	event->device = BPF_CORE_READ(inode, i_sb, s_dev);
	if (inode && BPF_CORE_READ(inode, i_nlink) == 0)
		event->head.flags |= FLAG_UNLINKED;
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec))
		event->head.flags |= FLAG_SECUREEXEC;
	event->argc = BPF_CORE_READ(bprm, argc);
	event->cgroup = bpf_get_current_cgroup_id();
	event->gid = BPF_CORE_READ(task, cred, gid.val);
	event->egid = BPF_CORE_READ(task, cred, egid.val);
	event->loginuid = -1;
	event->sessionid = -1;
	if (bpf_core_field_exists(task->loginuid))
		event->loginuid = BPF_CORE_READ(task, loginuid.val);
	if (bpf_core_field_exists(task->sessionid))
		event->sessionid = BPF_CORE_READ(task, sessionid);
	event->tty[0] = 0;
	if (tty)
		BPF_CORE_READ_STR_INTO(&event->tty, tty, name);
}

/*
 * An untagged program of a login that has sessions was started by a daemon: by
 * the user's manager, by at, by cron. It gets the tag of the login's handed
 * work, and passes it on. An exec leaves one thread, so one task is counted.
 */
static __always_inline struct mark *adopt(struct task_struct *task)
{
	struct mark mark = {};
	struct session *session;
	struct handed *handed_to;
	struct mark *made;
	__u32 loginuid;

	if (!bpf_core_field_exists(task->loginuid))
		return 0;
	loginuid = BPF_CORE_READ(task, loginuid.val);
	handed_to = bpf_map_lookup_elem(&handed, &loginuid);
	if (!handed_to || !handed_to->open)
		return 0;
	/* Without the agent's pid namespace in it, it runs on another host of this kernel. */
	if (!pid_in_agent_ns(BPF_CORE_READ(task, group_leader)))
		return 0;
	session = session_of(handed_to->tag);
	if (!session)
		return 0;
	mark.tag = handed_to->tag;
	made = bpf_task_storage_get(&tags, task, &mark, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!made) {
		__sync_fetch_and_add(&session->lost_events, 1);
		return 0;
	}
	__sync_fetch_and_add(&session->live, 1);
	return made;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct exec_event *event;
	struct session *session;
	__u64 tag, seq, exec_id;
	struct mark *mark;
	bool doomed;

	if (!acting())
		return 0;
	mark = mark_of(task);
	if (!mark)
		mark = adopt(task);
	if (!mark || !mark->tag)
		return 0;
	tag = mark->tag;
	exec_id = BPF_CORE_READ(task, self_exec_id);
	if (__sync_lock_test_and_set(&mark->exec_id, exec_id) == exec_id)
		return 0; /* the other generation was here */

	doomed = is_ending(tag);
	if (doomed)
		bpf_send_signal(SIGKILL);
	session = session_of(tag);
	if (!session)
		return 0;

	seq = __sync_fetch_and_add(&session->seq, 1);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&session->lost_events, 1);
		return 0;
	}
	fill_head(&event->head, task, tag, seq);
	event->head.kind = KIND_EXEC;
	if (doomed)
		event->head.flags |= FLAG_ENDING;
	fill_names(event, bprm);
	fill_program(event, task, bprm);
	fill_argv(session, event, task);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* What wait(2) will report of a process whose last thread is ending. */
static __always_inline __u32 status_of(struct task_struct *task)
{
	if (BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT)
		return BPF_CORE_READ(task, signal, group_exit_code);
	return BPF_CORE_READ(task, group_leader, exit_code);
}

/*
 * ctx[0] is the task; since 6.16 ctx[1] says whether it was the last of its
 * process. On older kernels two threads that end together can both look like
 * the last one: then the process has two exit events, never none.
 */
SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	struct task_struct *task = (void *)ctx[0];
	struct exit_event *event;
	struct session *session;
	struct mark *mark;
	__u64 tag, seq;
	bool last;

	if (!acting())
		return 0;
	mark = mark_of(task);
	if (!mark || !mark->tag)
		return 0;
	tag = mark->tag;
	if (__sync_lock_test_and_set(&mark->exited, 1))
		return 0; /* the other generation was here */
	drop_stray(task);
	if (settings.exit_says_last)
		last = (__u8)ctx[1];
	else
		last = BPF_CORE_READ(task, signal, live.counter) == 0;

	session = session_of(tag);
	if (!session)
		return 0;
	if (last) {
		seq = __sync_fetch_and_add(&session->seq, 1);
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event) {
			__sync_fetch_and_add(&session->lost_events, 1);
		} else {
			fill_head(&event->head, task, tag, seq);
			event->head.kind = KIND_EXIT;
			event->status = status_of(task);
			event->reserved = 0;
			bpf_ringbuf_submit(event, 0);
		}
	}
	/* Last, so that live == 0 means that every event has been written. */
	__sync_fetch_and_add(&session->live, -1);
	return 0;
}

static __always_inline void fill_address(struct socket_event *event, const struct sock *sk,
					 bool connects)
{
	__builtin_memset(event->address, 0, sizeof(event->address));
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	event->reserved = 0;
	if (connects)
		event->port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	else
		event->port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (event->family == AF_INET && connects)
		*(__u32 *)event->address = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	else if (event->family == AF_INET)
		*(__u32 *)event->address = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	else if (event->family == AF_INET6 && connects)
		BPF_CORE_READ_INTO(&event->address, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	else if (event->family == AF_INET6)
		BPF_CORE_READ_INTO(&event->address, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
}

/*
 * A stream socket goes out or waits for others to come in. Both are done by whoever asked for it, in its own
 * context; the states that follow come by interrupts and say nothing of anybody.
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_socket, const struct sock *sk, const int old, const int new)
{
	struct socket_event *event;
	struct task_struct *task;
	struct session *session;
	struct mark *mark;
	__u64 tag, seq;

	if (new != TCP_SYN_SENT && new != TCP_LISTEN)
		return 0;
	if (!acting())
		return 0;
	task = bpf_get_current_task_btf();
	mark = mark_of(task);
	if (!mark || !mark->tag)
		return 0;
	tag = mark->tag;
	session = session_of(tag);
	if (!session)
		return 0;
	seq = __sync_fetch_and_add(&session->seq, 1);
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&session->lost_events, 1);
		return 0;
	}
	fill_head(&event->head, task, tag, seq);
	event->head.kind = new == TCP_SYN_SENT ? KIND_CONNECT : KIND_LISTEN;
	fill_address(event, sk, new == TCP_SYN_SENT);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Gives a stray its storage: this context may create what a fork could not. */
static __always_inline void settle(struct task_struct *task, struct mark *mark)
{
	struct mark copy = { .tag = mark->tag, .exec_id = mark->exec_id };
	struct mark *own = bpf_task_storage_get(&tags, task, &copy, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!own)
		return;
	if (mark->exited)
		own->exited = 1;
	drop_stray(task);
}

/* Lists the live tagged tasks that the reader's pid namespace can see. */
SEC("iter/task")
int list_members(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct task_struct *leader;
	struct member member = {};
	struct mark *mark;

	if (!task)
		return 0;
	mark = bpf_task_storage_get(&tags, task, 0, 0);
	if (!mark) {
		mark = stray_of(task);
		if (!mark)
			return 0;
		settle(task, mark);
	}
	if (!mark->tag || mark->exited)
		return 0;
	leader = BPF_CORE_READ(task, group_leader);
	member.tag = mark->tag;
	member.start_ns = BPF_CORE_READ(leader, start_boottime);
	member.pid = pid_in_agent_ns(leader);
	BPF_CORE_READ_INTO(&member.comm, task, comm);
	bpf_seq_write(ctx->meta->seq, &member, sizeof(member));
	return 0;
}
