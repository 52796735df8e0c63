//! What a set of policies has answered: the same question gets the same answer, without being put again.
//!
//! An answer depends on the set and on the question alone, and of a question only on what some policy of the set reads.
//! So the rest is left out of what is remembered: where no policy asks for the time, it is no matter when one asks.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::question::{Access, Act, Day, Evidence, Question};
use crate::set::Verdict;

/// Answers by their questions.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<Question, Verdict>>);

impl Memory {
    /// What was answered before.
    pub(crate) fn recall(&self, question: &Question) -> Option<Verdict> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
    }

    /// Remembers an answer. When there are many, all are forgotten first: those that are asked often come back at once.
    pub(crate) fn keep(&self, question: Question, verdict: &Verdict) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.clear();
        }
        answers.insert(question, verdict.clone());
    }
}

/// The question without what no policy reads of its context.
pub(crate) fn essence(question: &Question, reads: impl Fn(&str) -> bool) -> Question {
    let mut essence = question.clone();
    if !reads("mfaAge") {
        essence.mfa_age = None;
    }
    let moment = &mut essence.moment;
    // Policies see whole seconds.
    moment.millis = match reads("now") {
        true => moment.millis.div_euclid(1_000).saturating_mul(1_000),
        false => 0,
    };
    if !reads("day") {
        moment.day = Day::Monday;
    }
    if !reads("minute") {
        moment.minute = 0;
    }
    if let Act::Request(access) | Act::Issue(access) | Act::Breakglass(access) = &mut essence.act {
        without(access, reads);
    }
    essence
}

fn without(access: &mut Access, reads: impl Fn(&str) -> bool) {
    // Each is named, so that a new one is not forgotten here.
    let Access { host: _, role, login, seconds, renewal, reason, risk, evidence } = access;
    let Evidence { approvers, quorums, ticket, ticket_open, on_call, urgent } = evidence;
    forget(role, reads("role"));
    forget(login, reads("login"));
    forget(seconds, reads("seconds"));
    forget(renewal, reads("renewal"));
    forget(reason, reads("reason"));
    forget(risk, reads("risk"));
    forget(approvers, reads("approvers"));
    forget(quorums, reads("quorums"));
    forget(ticket, reads("ticket"));
    forget(ticket_open, reads("ticketOpen"));
    forget(on_call, reads("onCall"));
    forget(urgent, reads("urgency"));
}

fn forget<T: Default>(value: &mut T, is_read: bool) {
    if !is_read {
        *value = T::default();
    }
}

/// Most answers that are kept: some 2 MB.
const MOST: usize = 2_048;
