//! What each subcommand does.

pub(crate) mod approve;
pub(crate) mod attempts;
pub(crate) mod audit;
pub(crate) mod behaviour;
pub(crate) mod breakglass;
pub(crate) mod certificate;
pub(crate) mod completions;
pub(crate) mod deny;
pub(crate) mod done;
pub(crate) mod extend;
pub(crate) mod grants;
pub(crate) mod hosts;
pub(crate) mod incidents;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod lock;
pub(crate) mod locks;
pub(crate) mod login;
pub(crate) mod logins;
pub(crate) mod man;
pub(crate) mod replay;
pub(crate) mod request;
pub(crate) mod requests;
pub(crate) mod retention;
pub(crate) mod review;
pub(crate) mod sessions;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod unlock;
pub(crate) mod watch;
pub(crate) mod whoami;
pub(crate) mod withdraw;

use anyhow::Result;

use crate::args::Command;
use crate::exit::Exit;
use crate::render::Screen;

/// Does `command`.
pub(crate) fn run(command: Command, screen: &Screen) -> Result<Exit> {
    match command {
        Command::Login(login) => login.run(screen),
        Command::Logins(logins) => logins.run(screen),
        Command::Logout(logout) => logout.run(screen),
        Command::Keys(keys) => keys.run(screen),
        Command::Whoami(whoami) => whoami.run(screen),
        Command::Behaviour(behaviour) => behaviour.run(screen),
        Command::Hosts(hosts) => hosts.run(screen),
        Command::Ssh(ssh) => ssh.run(screen),
        Command::Certificate(certificate) => certificate.run(screen),
        Command::Request(request) => request.run(screen),
        Command::Requests(requests) => requests.run(screen),
        Command::Approve(approve) => approve.run(screen),
        Command::Deny(deny) => deny.run(screen),
        Command::Withdraw(withdraw) => withdraw.run(screen),
        Command::Grants(grants) => grants.run(screen),
        Command::Extend(extend) => extend.run(screen),
        Command::Done(done) => done.run(screen),
        Command::Sessions(sessions) => sessions.run(screen),
        Command::Replay(replay) => replay.run(screen),
        Command::Watch(watch) => watch.run(screen),
        Command::Review(review) => review.run(screen),
        Command::Reviews(reviews) => reviews.run(screen),
        Command::Retention(retention) => retention.run(screen),
        Command::Attempts(attempts) => attempts.run(screen),
        Command::Incidents(incidents) => incidents.run(screen),
        Command::Audit(audit) => audit.run(screen),
        Command::Lock(lock) => lock.run(screen),
        Command::Unlock(unlock) => unlock.run(screen),
        Command::Locks(locks) => locks.run(screen),
        Command::Ledger(ledger) => ledger.run(screen),
        Command::Breakglass(breakglass) => breakglass.run(screen),
        Command::Status(status) => status.run(screen),
        Command::Completions(completions) => completions.run(screen),
        Command::Man(man) => man.run(screen),
    }
}
