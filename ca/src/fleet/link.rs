//! An enrolled host's connection: orders out, records and receipts in.
//!
//! Two loops that do not wait for one another: what the host sends is made durable and acknowledged, and orders leave as
//! soon as they are durable. No order is lost between reading the ledger and hearing of the next: the word of a new
//! order is a number that only rises, and what is sent is always read from the ledger up to it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use wire::VERSION;
use wire::breakglass::MAX_KEYS;
use wire::hostlink::{Hello, MAX_SIZES, SILENCE_SECS, ToAuthority, ToHost, Welcome};
use wire::identifier::{Fingerprint, RecordNumber};
use wire::krl::signed::{KrlAsk, KrlStanding};
use wire::log::{Era, Head};
use wire::problem::{Code, Problem};
use wire::record::{Receipt, Record};
use wire::recording::lane::Assembly;
use wire::time::Timestamp;

use super::enrolment::version_problem;
use super::frames::{Incoming, LinkError, Outgoing};
use super::lane::{self, Lane};
use super::renewal::Desk;
use super::{Presence, Seat, spool};
use crate::authority::Authority;
use crate::clock;
use crate::http::refusal::Refusal;
use crate::ledger::{Certified, HostRow, LedgerError, ReceiptRow};
use crate::recording::intake::Brought;
use crate::x509::HostCertificate;

/// Serves the host that `whose` names.
pub(super) async fn serve<R, W>(
    reader: R,
    writer: &mut Outgoing<W>,
    (authority, whose): (&Authority, HostCertificate),
) -> Result<(), LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut incoming = Incoming::new(reader, wire::frame::MAX_FRAME);
    let first = incoming.next(Duration::from_secs(SILENCE_SECS)).await?;
    let ToAuthority::Hello(hello) = first else {
        let problem = Problem::new(Code::Malformed, "the first frame of a host is its hello");
        return writer.send(&ToHost::Refused(problem)).await;
    };
    let (last_order, said, renews, krl) =
        (hello.last_order, hello.at, hello.renews, hello.krl.clone());
    let believed = hello.keys.clone();
    let records = hello.recording.clone();
    let (row, era) = match greeted(authority, &whose, hello).await {
        Ok(greeted) => greeted,
        Err(problem) => {
            tracing::warn!(host = %whose.host, %problem, "a host was refused");
            return writer.send(&ToHost::Refused(problem)).await;
        }
    };
    let told = authority.tell_recording_key(records.as_ref()).await;
    let opened = Desk::open((authority, &whose), row.agent_key.as_deref());
    let desk = opened.map_err(std::io::Error::other)?;
    let now = clock::now();
    let here = Presence { krl: krl.clone(), ..presence(said, last_order, now) };
    let seat = authority.fleet.seat(whose.host.clone(), here);
    tracing::info!(host = %whose.host, last_order, last_record = row.last_record, "a host connected");
    let orders = authority.ledger.orders();
    let newest_order = *orders.borrow();
    let welcome = Welcome {
        challenge: Some(desk.challenge().to_owned()),
        recording: told,
        ..welcome(authority, (row.last_record, newest_order), era, now)
    };
    writer.send(&ToHost::Welcome(welcome)).await?;
    let (answers, waiting) = mpsc::channel(MAX_ANSWERS);
    let said = Mutex::new(believed);
    let lane = Lane::open(authority, whose.host.clone(), row.agent_key.as_deref());
    let group_keys = Mutex::default();
    let spool = spool::Intake::open(&row);
    let (whose, seat) = (&whose, &seat);
    let link = Link { authority, whose, seat, desk, lane, spool, renews, said, group_keys, era };
    authority.tell_keys().await;
    link.ask_where_changed(&row);
    link.is_ahead(krl.as_ref()).await;
    let ended = tokio::select! {
        ended = link.take(&mut incoming, answers) => ended,
        ended = link.give(writer, waiting, (last_order, krl.map(|krl| krl.version))) => ended,
        () = seat.dismissed() => {
            tracing::warn!(host = %whose.host, "another connection of the same host took over, or it was removed");
            Ok(())
        }
    };
    link.leave(ended.as_ref().err()).await;
    ended
}

/// What every host is told that connects.
fn welcome(
    authority: &Authority,
    (last_record, newest_order): (u64, u64),
    era: Era,
    now: Timestamp,
) -> Welcome {
    Welcome {
        version: VERSION,
        last_record,
        newest_order,
        at: now,
        tree: Some(authority.ledger.checkpoints().borrow().head().size),
        challenge: None,
        records: wire::record::GENERATION,
        era: Some(era),
        recordings: true,
        recording: None,
        sealed: authority.opening().newest().is_some(),
    }
}

/// One host's connection.
struct Link<'a> {
    authority: &'a Authority,
    whose: &'a HostCertificate,
    seat: &'a Seat<'a>,
    desk: Desk<'a>,
    lane: Lane<'a>,
    spool: spool::Intake,
    /// Whether it can be asked to renew.
    renews: bool,
    /// Which keys it said last that it believes.
    said: Mutex<Option<Fingerprint>>,
    /// By which group keys it said last that it lets in.
    group_keys: Mutex<Option<Vec<Fingerprint>>>,
    /// The ledger's era.
    era: Era,
}

impl Link<'_> {
    /// Takes what the host sends, until it is silent for too long.
    async fn take<R: AsyncRead + Unpin>(
        &self,
        incoming: &mut Incoming<R>,
        answers: mpsc::Sender<ToHost>,
    ) -> Result<(), LinkError> {
        let (questions, asked) = mpsc::channel(MAX_QUESTIONS);
        let (whole, came) = mpsc::channel(MAX_WHOLE);
        tokio::select! {
            taken = self.take_frames(incoming, &answers, (questions, whole)) => taken,
            shown = self.show_trees(asked, &answers) => shown,
            kept = self.lane.keep(came, &answers) => kept,
        }
    }

    /// Answers what is asked about trees, one question after the other. Witnesses may take their time; what else the host
    /// sends is taken meanwhile.
    async fn show_trees(
        &self,
        mut asked: mpsc::Receiver<Vec<u64>>,
        answers: &mpsc::Sender<ToHost>,
    ) -> Result<(), LinkError> {
        let (witnesses, ledger) = (&self.authority.witnesses, &self.authority.ledger);
        while let Some(sizes) = asked.recv().await {
            let answer = match witnesses.continuation(ledger, sizes).await {
                Ok(None) => continue,
                Ok(Some(shown)) => ToHost::Checkpoint(Box::new(shown)),
                Err(error) => {
                    tracing::warn!(host = %self.whose.host, %error, "what a host asked was refused");
                    ToHost::Refused(Refusal::from(error).0)
                }
            };
            answers.try_send(answer).map_err(|_full| LinkError::Stuck)?;
        }
        // The frames have ended, and with them all of it.
        std::future::pending().await
    }

    async fn take_frames<R: AsyncRead + Unpin>(
        &self,
        incoming: &mut Incoming<R>,
        answers: &mpsc::Sender<ToHost>,
        (questions, whole): (mpsc::Sender<Vec<u64>>, mpsc::Sender<Brought>),
    ) -> Result<(), LinkError> {
        let mut assembly = Assembly::default();
        loop {
            let frame = incoming.next(Duration::from_secs(SILENCE_SECS)).await?;
            let frame = match frame {
                ToAuthority::Prove(sizes) if sizes.len() <= MAX_SIZES => {
                    questions.try_send(sizes).map_err(|_full| LinkError::Stuck)?;
                    continue;
                }
                ToAuthority::Recording(upload) => {
                    if let Some(answer) = lane::arrived(&mut assembly, *upload, &whole)? {
                        answers.try_send(answer).map_err(|_full| LinkError::Stuck)?;
                    }
                    continue;
                }
                other => other,
            };
            let answer = match self.accept(frame).await {
                Ok(None) => continue,
                Ok(Some(answer)) => answer,
                Err(problem) => ToHost::Refused(problem),
            };
            let is_last = matches!(answer, ToHost::Refused(_));
            // A host that does not read its acknowledgements is not waited for.
            answers.try_send(answer).map_err(|_full| LinkError::Stuck)?;
            if is_last {
                // The other loop ends the connection when it has sent it.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn accept(&self, frame: ToAuthority) -> Result<Option<ToHost>, Problem> {
        let now = clock::now();
        let host = &self.whose.host;
        let refused = |error: LedgerError| {
            tracing::warn!(%host, %error, "what a host sent was refused");
            Refusal::from(error).0
        };
        match frame {
            ToAuthority::Sealed(_) | ToAuthority::Records(_) | ToAuthority::Gone(_)
                if self.spool.is_held() =>
            {
                Ok(None)
            }
            ToAuthority::Sealed(sealed) => {
                self.spool.take((self.authority, self.whose), sealed, now).await
            }
            ToAuthority::Records(records) => self.take_records(records, now).await.map_err(refused),
            ToAuthority::Gone(number) => {
                let whose = (host.clone(), self.whose.enrolment);
                let gone = self.authority.ledger.records_gone(whose, number.number(), now);
                let last = gone.await.map_err(refused)?;
                self.spool.passed(last);
                Ok(RecordNumber::try_new(last).ok().map(ToHost::Acknowledged))
            }
            ToAuthority::Prove(_) => {
                Err(Problem::new(Code::Malformed, "too many trees are asked about at once"))
            }
            ToAuthority::Receipt(receipt) => {
                self.take_receipt(receipt, now).await.map_err(refused)?;
                Ok(None)
            }
            ToAuthority::Heartbeat(heartbeat) => {
                self.believes(heartbeat.keys).await.map_err(refused)?;
                self.lets_in(heartbeat.group_keys).await?;
                let last = heartbeat.last_order.map_or(0, |order| order.number());
                self.is_ahead(heartbeat.krl.as_ref()).await;
                self.seat.records(heartbeat.spooled, heartbeat.trouble.map(|it| bounded(&it)));
                let krl = heartbeat.krl;
                self.seat.heard(Presence { krl, ..presence(heartbeat.at, last, now) });
                if let Some(standing) = heartbeat.certificates {
                    self.seat.stands(standing);
                }
                Ok(None)
            }
            ToAuthority::Renew(ask) => Ok(Some(ToHost::Renewed(self.desk.renew(&ask, now).await))),
            ToAuthority::RenewLink(ask) => {
                Ok(Some(ToHost::LinkRenewed(self.desk.renew_link(&ask, now).await)))
            }
            ToAuthority::KrlAsk(ask) => Ok(self.part(ask)),
            ToAuthority::Enrol(_) | ToAuthority::Hello(_) | ToAuthority::Recording(_) => {
                Err(Problem::new(Code::Malformed, "this frame has no place here"))
            }
        }
    }

    /// Records that came in the clear.
    async fn take_records(
        &self,
        records: Vec<Record>,
        now: Timestamp,
    ) -> Result<Option<ToHost>, LedgerError> {
        let whose = (self.whose.host.clone(), self.whose.enrolment);
        let is_news = records.iter().any(spool::tells);
        let last = self.authority.ledger.take_records(whose, records, now).await?;
        self.spool.passed(last);
        if is_news {
            self.authority.fleet.change();
        }
        Ok(RecordNumber::try_new(last).ok().map(ToHost::Acknowledged))
    }

    /// Notes which keys the host says that it believes, when that is news.
    async fn believes(&self, digest: Option<Fingerprint>) -> Result<(), LedgerError> {
        let Some(digest) = digest else { return Ok(()) };
        if self.said().as_ref() == Some(&digest) {
            return Ok(());
        }
        let whose = (self.whose.host.clone(), self.whose.enrolment);
        self.authority.ledger.host_believes(whose, digest.clone()).await?;
        *self.said() = Some(digest);
        self.authority.fleet.change();
        Ok(())
    }

    /// Notes by which group keys the host lets in, when that is news.
    async fn lets_in(&self, keys: Option<Vec<Fingerprint>>) -> Result<(), Problem> {
        let Some(keys) = keys else { return Ok(()) };
        if keys.len() > MAX_KEYS {
            return Err(Problem::new(Code::Malformed, "a host has at most three group keys"));
        }
        if self.group_keys.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&keys) {
            return Ok(());
        }
        let whose = (self.whose.host.clone(), self.whose.enrolment);
        let noted = self.authority.ledger.host_lets_in(whose, keys.clone()).await;
        noted.map_err(|error| Refusal::from(error).0)?;
        *self.group_keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        Ok(())
    }

    fn said(&self) -> MutexGuard<'_, Option<Fingerprint>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host whose certificates say something else than what they would say now is asked to renew them.
    fn ask_where_changed(&self, row: &HostRow) {
        let Some(authority) = self.authority.host_authority() else { return };
        let differs =
            |certified: &Certified| certified.differs(&row.name, &row.addresses, &authority);
        if row.certified.as_ref().is_none_or(differs) {
            self.authority.fleet.ask_renewal(&row.name);
        }
    }

    async fn take_receipt(&self, receipt: Receipt, now: Timestamp) -> Result<(), LedgerError> {
        let ledger = &self.authority.ledger;
        let elapsed = match ledger.pulse().durable_since(receipt.order.number()) {
            Some(durable) => clock::instant().saturating_duration_since(durable),
            None => match ledger.receipts(receipt.order).await? {
                Some((at, _)) => now.since(at),
                None => Duration::ZERO,
            },
        };
        if receipt.survivors > 0 {
            tracing::error!(
                host = %self.whose.host, order = receipt.order.number(), survivors = receipt.survivors,
                "processes survive an order; the host goes on trying, and someone must look"
            );
        }
        let last_order = receipt.order.number();
        let elapsed_micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let row = ReceiptRow { host: self.whose.host.clone(), receipt, elapsed_micros };
        match ledger.take_receipt(row, now).await {
            Err(LedgerError::NotFound(_)) if last_order <= self.era.floor() => {
                // The host carries out a lock that was ordered after the backup from which this ledger was restored.
                tracing::info!(host = %self.whose.host, order = last_order, "a receipt for an order that this ledger lost");
                return Ok(());
            }
            taken => taken?,
        }
        let known = self.authority.fleet.presence(&self.whose.host);
        let (skew_secs, krl) = known.map_or((0, None), |known| (known.skew_secs, known.krl));
        self.seat.heard(Presence { seen: now, last_order, skew_secs, krl });
        self.authority.fleet.change();
        Ok(())
    }

    /// The part of a list that the host asked for; the announcement of the newest when it asked for another.
    fn part(&self, ask: KrlAsk) -> Option<ToHost> {
        let list = self.authority.krl.newest()?;
        let part = if ask.version == list.version() && ask.offset > 0 {
            list.part(ask.offset)
        } else {
            None
        };
        Some(part.map_or_else(|| ToHost::Krl(list.announced().clone()), ToHost::KrlPart))
    }

    /// A host with a newer list than ours: this ledger was restored from a backup, or the host lies. Lists go on above it.
    async fn is_ahead(&self, krl: Option<&KrlStanding>) {
        let Some(newest) = self.authority.krl.newest() else { return };
        let (ours, theirs) = (newest.version(), krl.map_or(0, |krl| krl.version));
        if theirs <= ours {
            return;
        }
        let host = &self.whose.host;
        if theirs.saturating_sub(ours) > MAX_LEAP {
            tracing::error!(%host, theirs, ours, "a host says that it has a list of revoked keys that cannot be; look at its agent");
            return;
        }
        tracing::error!(%host, theirs, ours, "a host has a newer list of revoked keys than this ledger: was an old backup restored? Lists go on above it");
        match self.authority.ledger.raise_krl(theirs).await {
            Ok(_) => self.authority.krl.wake(),
            Err(error) => {
                tracing::error!(%host, %error, "the version of the host's list could not be noted; it keeps its list");
            }
        }
    }

    /// Sends every order after `sent` as it becomes durable, and the answers and lists in between. No more than one
    /// frame of a list stands before an order: parts are sent as they are asked for, one at a time.
    async fn give<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut Outgoing<W>,
        mut waiting: mpsc::Receiver<ToHost>,
        (mut sent, mut listed): (u64, Option<u64>),
    ) -> Result<(), LinkError> {
        let mut newest = self.authority.ledger.orders();
        let mut lists = self.authority.krl.subscribe();
        loop {
            while sent < *newest.borrow_and_update() {
                let orders = self.authority.ledger.orders_after(sent).await;
                let orders = orders.map_err(std::io::Error::other)?;
                for order in orders {
                    writer.send(&ToHost::Order(order.order)).await?;
                    sent = order.number;
                }
            }
            let list = lists.borrow_and_update().clone();
            if let (Some(before), Some(list)) = (listed, list)
                && before < list.version()
            {
                listed = Some(list.version());
                writer.send(&ToHost::Krl(list.announced().clone())).await?;
                continue;
            }
            tokio::select! {
                biased;
                changed = newest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = self.seat.renewal_asked(), if self.renews => {
                    writer.send(&ToHost::RenewNow).await?;
                }
                changed = lists.changed(), if listed.is_some() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                answer = waiting.recv() => {
                    let Some(answer) = answer else { return Ok(()) };
                    writer.send(&answer).await?;
                    if matches!(answer, ToHost::Refused(_)) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Notes when the host was last heard of.
    async fn leave(&self, error: Option<&LinkError>) {
        let host = self.whose.host.clone();
        let reason = error.map_or_else(|| "in order".to_owned(), ToString::to_string);
        tracing::warn!(%host, %reason, "a host is not connected any more");
        let known = self.authority.fleet.presence(&host);
        let (seen, krl) =
            known.map_or_else(|| (clock::now(), None), |presence| (presence.seen, presence.krl));
        let standing = (self.seat.last_order(), krl);
        let noted = self.authority.ledger.seen(host, standing, seen).await;
        if let Err(error) = noted {
            tracing::error!(%error, "when a host was last heard of could not be noted");
        }
    }
}

/// What a host says in its own words, bounded and safe to show.
fn bounded(text: &str) -> String {
    wire::octets::plain(text).chars().take(MAX_TROUBLE).collect()
}

async fn greeted(
    authority: &Authority,
    whose: &HostCertificate,
    hello: Hello,
) -> Result<(HostRow, Era), Problem> {
    if hello.version != VERSION {
        return Err(version_problem(hello.version));
    }
    let newest = *authority.ledger.orders().borrow();
    if hello.last_order > newest {
        // New orders would carry numbers that the host has seen, and it would take none of them.
        tracing::error!(
            host = %whose.host, host_order = hello.last_order, newest_order = newest,
            "a host has orders that this ledger does not: was an old copy of it put in its place? Put a backup back with `curfew-ca restore`"
        );
        let message = format!(
            "the host has order {}, the authority only {newest}: the ledger is older than the host. A backup is put back with \
             `curfew-ca restore`, which tells hosts; a copy of its files is not",
            hello.last_order
        );
        return Err(Problem::new(Code::Conflict, message));
    }
    let restores = authority.ledger.restores().await.map_err(|error| Refusal::from(error).0)?;
    let newest = restores.last().and_then(|declared| declared.read().ok());
    let era = newest.as_ref().map_or(Era::FIRST, |statement| statement.era);
    if hello.era.is_none() && hello.last_order < era.floor() {
        let message = "the ledger was restored from a backup, and this host's agent is too old to be told; bring it to the \
             authority's release";
        return Err(Problem::new(Code::Version, message));
    }
    // What a host that was not told yet has seen beyond the backup is no news: it is told first.
    let is_told = hello.era.is_some_and(|known| known >= era);
    let of_both =
        |known: &Head| is_told || newest.is_none_or(|newest| known.size <= newest.cut.size);
    if let Some(known) = hello.tree.filter(of_both) {
        let noticed = match authority.ledger.contradiction(known).await {
            Ok(None) => Ok(()),
            Ok(Some(cause)) => {
                authority.ledger.notice(whose.host.clone(), cause, clock::now()).await
            }
            Err(error) => Err(error),
        };
        noticed.map_err(|error| Refusal::from(error).0)?;
    }
    let who = (whose.host.clone(), whose.enrolment);
    let greeted = authority.ledger.greet(who, hello, clock::now()).await;
    let row = greeted.map_err(|error| match error {
        LedgerError::NotFound(message) => Problem::new(Code::Unauthenticated, message),
        other => Refusal::from(other).0,
    })?;
    Ok((row, era))
}

fn presence(said: Timestamp, last_order: u64, now: Timestamp) -> Presence {
    let skew = now.since(said).max(said.since(now));
    Presence { seen: now, last_order, skew_secs: skew.as_secs(), krl: None }
}

/// A host's version further above ours than this is a lie: no backup is so old.
const MAX_LEAP: u64 = 1 << 32;
/// Answers that may wait for a host to read them.
const MAX_ANSWERS: usize = 64;
/// Most characters kept of what a host says is wrong with it.
const MAX_TROUBLE: usize = 500;
/// Questions about trees that wait; a host asks one at a time.
const MAX_QUESTIONS: usize = 4;
/// Blocks of recordings that wait for the disk; a host sends the next when it has the word on the last.
const MAX_WHOLE: usize = 2;
