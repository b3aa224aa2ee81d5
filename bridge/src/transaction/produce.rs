//! The records of a transaction: sent to the leaders of their partitions, and what became of them.

use std::collections::BTreeSet;

use tributary_core::time::Instant;

use super::Transaction;
use super::chain::Verdict;
use crate::failure::Failure;
use crate::links::Ask;
use crate::session::{Context, Parts, Topics};
use crate::status::Refusal;
use crate::wire::{Address, Api, Class, Code, Dialect, ask, read};

impl Transaction {
    /// `Produce`: in each request one batch of every partition that the broker leads.
    pub(super) fn send_batches(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut Parts,
        dialect: Dialect,
    ) -> Result<(), Failure> {
        let timeout_ms = cx.settings.request_timeout_ms;
        let transactional = dialect != Dialect::Plain;
        for address in self.leaders(cx.now, &mut parts.topics) {
            let Some(conn) = cx.links.reach(cx.now, &address)? else {
                continue;
            };
            let version = cx.links.version(conn, Api::Produce, dialect)?;
            loop {
                let mut places = Vec::new();
                for (index, chain) in self.chains.iter_mut().enumerate() {
                    if parts.topics.leader(&chain.topic, chain.partition) == Some(&address)
                        && let Some(batch) = chain.next()
                    {
                        places.push((index, batch));
                        chain.sent();
                    }
                }
                if places.is_empty() {
                    break;
                }
                let batches = places.iter().map(|&(index, batch)| {
                    let chain = &self.chains[index];
                    (&*chain.topic, chain.partition, chain.batch(batch).bytes.clone())
                });
                let ids = transactional.then_some(&cx.links.ids);
                let request = ask::produce(ids, timeout_ms, batches);
                let to = (conn, Api::Produce, version);
                cx.links.send(cx.now, to, Ask::Produce(places), &request);
            }
        }
        Ok(())
    }

    /// The leaders of all chains that have something to send now.
    fn leaders(&mut self, now: Instant, topics: &mut Topics) -> BTreeSet<Address> {
        let mut leaders = BTreeSet::new();
        for chain in &mut self.chains {
            if chain.next().is_none() {
                continue;
            }
            if let Some(address) = topics.leader(&chain.topic, chain.partition) {
                leaders.insert(address.clone());
            } else {
                chain.wait(now);
                topics.refresh();
            }
        }
        leaders
    }

    pub(super) fn handle_produced(
        &mut self,
        cx: &mut Context<'_>,
        parts: &mut Parts,
        (index, batch): (usize, usize),
        answers: &[read::Produced],
    ) -> Result<(), Failure> {
        let chain = &mut self.chains[index];
        let here = |answer: &&read::Produced| {
            answer.topic == *chain.topic && answer.partition == chain.partition
        };
        let Some(answer) = answers.iter().find(here) else {
            return Err(Failure::Ended(format!("no answer for {}", chain.topic)));
        };
        let code = answer.code;
        let again = u64::from(code != Code::GOOD);
        match chain.answered(cx.now, batch, answer) {
            Verdict::Fine => {
                cx.counters.retries += again;
                Ok(())
            }
            Verdict::Moved => {
                cx.counters.retries += again;
                if code.class() == Class::Leader {
                    parts.topics.follow((&chain.topic, chain.partition), answer.leader.clone());
                }
                Ok(())
            }
            Verdict::Final if code == Code::GOOD => {
                Err(Failure::Ended(format!("batches of {} were taken out of order", chain.topic)))
            }
            Verdict::Final if code.class().is_refusal() => {
                let clock = "the clock of this gateway, or of the broker, is wrong".to_owned();
                let is_clock = code.class() == Class::Timestamp && chain.is_send_time_refused();
                let words = answer.message.clone().or(is_clock.then_some(clock));
                let words = words.map(|words| format!(": {words}"));
                Err(Failure::Refused(Refusal {
                    subject: format!("topic {}", chain.topic),
                    topic: code.is_of_topic().then(|| chain.topic.to_string()),
                    partition: Some(chain.partition),
                    offsets: Some(chain.batch(batch).offsets()),
                    error: format!("{code}{}", words.unwrap_or_default()),
                }))
            }
            Verdict::Final => Err(Failure::answered(Api::Produce, code)),
        }
    }
}
