//! `curfew` as a program: through its command line, against an authority of the test's own, with the real ssh tools.

#[cfg(test)]
mod authority;
mod behaviour;
#[cfg(test)]
mod breakglass;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod expired;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod login;
#[cfg(test)]
mod person;
#[cfg(test)]
mod plain_ssh;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod report;
#[cfg(test)]
mod request;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod seen;
#[cfg(test)]
mod sshd;
#[cfg(test)]
mod views;
