//! The checker finds losses, doubles and disorder, and takes a device's resends for what they are.

use tributary_mqtt::Version;

use super::*;

const DEVICES: usize = 3;
const READINGS: usize = 2_000;

/// A day on which all went well, with one partition in the cluster.
struct Day {
    journals: Vec<Journal>,
    log: Vec<Vec<u8>>,
    records: Vec<Arrival>,
    own: Own,
}

impl Day {
    fn good() -> Self {
        let journal = |device| Journal {
            device,
            version: Version::V5,
            times: vec![1; READINGS],
            acknowledged: READINGS,
        };
        let mut day = Self {
            journals: (0..DEVICES).map(journal).collect(),
            log: Vec::new(),
            records: Vec::new(),
            own: Own::default(),
        };
        for seq in 0..READINGS {
            for device in 0..DEVICES {
                day.publish(Reading { device, seq });
            }
        }
        day
    }

    /// The event of a reading becomes durable and, if it is selected, a record.
    fn publish(&mut self, reading: Reading) {
        self.log.push(reading.payload().into_bytes());
        if reading.is_selected() {
            self.records.push(record(self.own.durable, reading));
            self.own.delivered += 1;
        } else {
            self.own.filtered += 1;
        }
        self.own.durable += 1;
    }

    fn account(&self) -> Account {
        self.account_of(core::slice::from_ref(&self.records))
    }

    fn account_of(&self, partitions: &[Vec<Arrival>]) -> Account {
        Account::draw_up(&self.journals, &self.log, partitions, self.own)
    }

    fn reading(&self, index: usize) -> Reading {
        Reading::parse(&self.records[index].value).expect("the day's records are readings")
    }
}

fn record(offset: u64, reading: Reading) -> Arrival {
    let identity = Identity { gateway: "demo".to_owned(), offset, route: "hot".to_owned() };
    Arrival { identity: Some(identity), value: reading.payload().into_bytes() }
}

/// Lost, doubled, out of order, unexpected.
fn verdict(account: &Account) -> (u64, u64, u64, u64) {
    (account.lost, account.doubled, account.out_of_order, account.unexpected)
}

#[test]
fn a_good_day_is_clean() {
    let day = Day::good();
    let account = day.account();
    assert!(account.is_clean(), "{account:?}");
    assert_eq!(account.published, (DEVICES * READINGS) as u64);
    assert_eq!(account.acknowledged, account.published);
    assert_eq!(account.selected, day.records.len() as u64);
    assert_eq!((account.arrived, account.repeated_in_cluster), (account.selected, 0));
}

#[test]
fn a_reading_that_is_not_in_the_cluster_is_lost() {
    let mut day = Day::good();
    let reading = day.reading(10);
    day.records.remove(10);
    let account = day.account();
    assert_eq!(verdict(&account), (1, 0, 0, 0));
    assert!(!account.is_clean());
    let place = format!("lost: {} seq {}: ", name(reading.device), reading.seq);
    assert!(account.evidence[0].starts_with(&place), "{:?}", account.evidence);
    assert!(account.evidence[0].ends_with("not in the cluster"), "{:?}", account.evidence);
}

#[test]
fn a_reading_that_is_not_in_the_log_is_lost_even_if_nobody_selects_it() {
    let mut day = Day::good();
    let is_cold = |payload: &Vec<u8>| Reading::parse(payload).is_some_and(|r| !r.is_selected());
    let cold = day.log.iter().position(is_cold).expect("some are cold");
    day.log.remove(cold);
    day.own.durable -= 1;
    day.own.filtered -= 1;
    let account = day.account();
    assert_eq!((verdict(&account), account.disagreements), ((1, 0, 0, 0), 0));
    assert!(account.evidence[0].ends_with("not in the log"), "{:?}", account.evidence);
}

#[test]
fn what_was_not_acknowledged_may_be_missing() {
    let mut day = Day::good();
    let last = day.reading(day.records.len() - 1);
    let journal = &mut day.journals[last.device];
    journal.times.truncate(last.seq + 1);
    journal.acknowledged = last.seq;
    let sent = |payload: &Vec<u8>| {
        Reading::parse(payload).is_some_and(|r| r.device != last.device || r.seq < last.seq)
    };
    day.log.retain(sent);
    day.records.pop();
    day.own.delivered -= 1;
    day.own.durable = day.log.len() as u64;
    day.own.filtered = day.own.durable - day.own.delivered;
    let account = day.account();
    assert!(account.is_clean(), "{account:?}");
}

#[test]
fn an_event_that_is_there_twice_is_doubled_wherever_it_is() {
    let day = Day::good();
    for partitions in [
        vec![[&day.records[..], &day.records[3..4]].concat()],
        vec![day.records.clone(), day.records[3..4].to_vec()],
    ] {
        let account = day.account_of(&partitions);
        assert_eq!(verdict(&account), (0, 1, 0, 0));
        assert!(account.evidence[0].contains("is there twice"), "{:?}", account.evidence);
    }
}

#[test]
fn a_resend_is_a_second_event_and_no_double() {
    let mut day = Day::good();
    let reading = day.reading(3);
    day.publish(reading);
    assert_eq!(verdict(&day.account()), (0, 2, 0, 0), "in log and cluster, but sent only once");
    day.journals[reading.device].times[reading.seq] = 2;
    let account = day.account();
    assert!(account.is_clean(), "{account:?}");
    let counts = (account.resent, account.repeated_in_log, account.repeated_in_cluster);
    assert_eq!(counts, (1, 1, 1));
    day.publish(reading);
    assert_eq!(verdict(&day.account()), (0, 2, 0, 0), "in log and cluster, but sent only twice");
}

#[test]
fn readings_of_a_device_in_the_wrong_order_are_found() {
    let mut day = Day::good();
    let first = day.reading(0);
    let later = (1..day.records.len()).find(|index| day.reading(*index).device == first.device);
    let later = later.expect("each device has many records");
    // Their places in the log are right, what they say is not.
    let value = core::mem::take(&mut day.records[0].value);
    day.records[0].value = core::mem::replace(&mut day.records[later].value, value);
    let account = day.account();
    assert_eq!(verdict(&account), (0, 0, 1, 0));
    assert!(account.evidence[0].contains("behind seq"), "{:?}", account.evidence);
}

#[test]
fn events_out_of_the_order_of_the_log_are_found() {
    let mut day = Day::good();
    let device = |index: usize| day.reading(index).device;
    let other = (1..day.records.len()).find(|index| device(*index) != device(index - 1));
    let other = other.expect("the devices take turns");
    day.records.swap(other - 1, other);
    let account = day.account();
    assert_eq!(verdict(&account), (0, 0, 1, 0));
    assert!(account.evidence[0].contains("behind offset"), "{:?}", account.evidence);
}

#[test]
fn what_was_never_sent_or_not_selected_or_changed_is_unexpected() {
    let good = Day::good();
    let cold = readings(0, READINGS).find(|reading| !reading.is_selected());
    let hot = readings(DEVICES, READINGS).find(|reading| reading.is_selected());
    let mut changed = good.records[0].clone();
    changed.value.push(b' ');
    let nameless = Arrival { identity: None, ..good.records[0].clone() };
    let at = good.own.durable;
    let strange = [
        record(at, cold.expect("some are cold")),
        record(at, hot.expect("some are hot")),
        changed,
        nameless,
    ];
    for arrival in strange {
        let mut day = Day::good();
        day.records.push(arrival);
        assert_eq!(verdict(&day.account()), (0, 0, 0, 1));
    }
}

#[test]
fn sums_of_the_gateway_that_do_not_add_up_are_found() {
    let day = Day::good();
    let acknowledged = (DEVICES * READINGS) as u64;
    assert_eq!(day.own.durable, acknowledged);
    let lies = [
        Own { delivered: day.own.delivered + 1, filtered: day.own.filtered - 1, ..day.own },
        Own { filtered: day.own.filtered + 1, ..day.own },
        Own { durable: acknowledged - 1, filtered: day.own.filtered - 1, ..day.own },
        Own { durable: acknowledged + 1, pending: 1, ..day.own },
    ];
    for own in lies {
        let account = Day { own, ..Day::good() }.account();
        assert_eq!((verdict(&account), account.disagreements), ((0, 0, 0, 0), 1));
        assert!(!account.is_clean());
    }
}

#[test]
fn the_evidence_is_bounded() {
    let mut day = Day::good();
    day.records.clear();
    let account = day.account();
    assert_eq!(account.lost, account.selected);
    assert!(account.lost > 100 && account.evidence.len() < 10);
}
