//! Decides what the next transaction does; no I/O, the same seed gives the same transactions.
//!
//! A transaction is a list of statements that need nothing from the client in between, so that it
//! travels in one packet. Each connection opens, closes and moves accounts in a key range of its
//! own and shares the core accounts with all others, where conflicts and deadlocks happen.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{CORE_ACCOUNTS, core_branch, core_name};

/// Keys of one connection's own accounts: far from the core's and from each other's.
const OWN_KEYS: u32 = 1_000;
/// Statements to be sent as one packet.
const SEPARATOR: &str = "; ";

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    statements: Vec<String>,
    /// Whether it ends in ROLLBACK, by intent.
    pub(super) rolls_back: bool,
}

impl Transaction {
    /// The whole transaction as one multi-statement text.
    pub(super) fn text(&self) -> String {
        self.statements.join(SEPARATOR)
    }
}

/// The account that a core account number means in one of the three tables.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    table: &'static str,
    condition: String,
    label: String,
}

fn core_account(rng: &mut StdRng) -> Account {
    let i = rng.random_range(1..=CORE_ACCOUNTS);
    match rng.random_range(0..3) {
        0 => Account {
            table: "account",
            condition: format!("id = {i}"),
            label: format!("{i}"),
        },
        1 => {
            let (branch, number) = core_branch(i);
            Account {
                table: "branch_account",
                condition: format!("branch = {branch} AND number = {number}"),
                label: format!("{branch}/{number}"),
            }
        }
        _ => {
            let label = core_name(i);
            Account {
                table: "named_account",
                condition: format!("name = '{label}'"),
                label,
            }
        }
    }
}

fn add(account: &Account, amount: &str) -> String {
    let Account {
        table, condition, ..
    } = account;
    format!("UPDATE {table} SET balance = balance + ({amount}) WHERE {condition}")
}

/// What moved, for the audit row.
struct Moved {
    statements: Vec<String>,
    from: String,
    to: String,
    amount: String,
}

/// Plans the next transaction of connection number `connection`.
pub(super) fn next(rng: &mut StdRng, connection: u32) -> Transaction {
    let moved = match rng.random_range(0..100) {
        0..55 => transfer(rng),
        55..62 => bonus(rng),
        62..70 => open(rng, connection),
        70..78 => close(rng, connection),
        78..88 => change_keys(rng, connection),
        88..92 => swap_unique_values(rng, connection),
        92..97 => touch(rng),
        _ => partly_rolled_back(rng),
    };
    let rolls_back = rng.random_range(0..20) == 0;
    let txn: u128 = rng.random();
    let mut statements = vec!["BEGIN".to_owned()];
    statements.extend(moved.statements);
    // The number is taken last, so that the row is locked shortly and nobody waits while holding
    // it: whoever has it only commits.
    statements.push("UPDATE sequence SET n = LAST_INSERT_ID(n + 1) WHERE id = 1".to_owned());
    statements.push(format!(
        "INSERT INTO audit (n, txn, from_account, to_account, amount, at) \
         VALUES (LAST_INSERT_ID(), UNHEX('{txn:032x}'), '{}', '{}', {}, NOW(6))",
        moved.from, moved.to, moved.amount
    ));
    statements.push(if rolls_back { "ROLLBACK" } else { "COMMIT" }.to_owned());
    Transaction {
        statements,
        rolls_back,
    }
}

/// From one core account to another, mostly in another table.
fn transfer(rng: &mut StdRng) -> Moved {
    let (from, to) = (core_account(rng), core_account(rng));
    let amount = rng.random_range(1..=500).to_string();
    Moved {
        statements: vec![add(&from, &format!("-{amount}")), add(&to, &amount)],
        from: from.label,
        to: to.label,
        amount,
    }
}

/// One account pays 1 to each of a range of others, in one statement.
fn bonus(rng: &mut StdRng) -> Moved {
    let first = rng.random_range(1..=CORE_ACCOUNTS - 10);
    let last = first + rng.random_range(1..=10);
    let payer = core_account(rng);
    Moved {
        statements: vec![
            format!(
                "UPDATE account SET balance = balance + 1, updated = NOW(3) \
                 WHERE id BETWEEN {first} AND {last}"
            ),
            "SET @moved = ROW_COUNT()".to_owned(),
            add(&payer, "-@moved"),
        ],
        from: payer.label,
        to: format!("{first}-{last}"),
        amount: "@moved".to_owned(),
    }
}

/// The first key of a connection's own range in `account`, and its own branch.
fn own(connection: u32) -> (u32, u32) {
    (100_000 + connection * 10 * OWN_KEYS, 1_000 + 2 * connection)
}

/// Opens several accounts in one statement, paid for by a core account.
fn open(rng: &mut StdRng, connection: u32) -> Moved {
    let (first_id, branch) = own(connection);
    let payer = core_account(rng);
    let count = rng.random_range(1..=4u32);
    let kind = rng.random_range(0..3);
    let rows: Vec<String> = (0..count)
        .map(|_| {
            let key = rng.random_range(0..OWN_KEYS);
            match kind {
                0 => {
                    let id = first_id + key;
                    let rating = f64::from(key) / 7.0;
                    format!("({id}, 10, {}, {rating:?}, NOW(3))", note(rng))
                }
                1 => {
                    let (flags, bits) = (key % 8, key % 4096);
                    format!(
                        "({branch}, {key}, 10, 1 + {}, {flags}, {bits}, '12:34:56.78', 2026)",
                        key % 3
                    )
                }
                _ => {
                    let photo: u128 = rng.random();
                    format!(
                        "('p{connection}-née-{key}', 'OWN{connection}-{key}', 10, \
                         '{{\"n\": [{key}, null, \"x\"]}}', UNHEX('{photo:x}00'), NOW(6))",
                        photo = photo & !0xff
                    )
                }
            }
        })
        .collect();
    let into = match kind {
        0 => "account (id, balance, note, rating, updated)",
        1 => "branch_account (branch, number, balance, kind, flags, bits, opens, since)",
        _ => "named_account (name, iban, balance, profile, photo, seen)",
    };
    Moved {
        statements: vec![
            format!("INSERT INTO {into} VALUES {}", rows.join(", ")),
            add(&payer, &format!("-{}", 10 * count)),
        ],
        from: payer.label,
        to: format!("opened {count}"),
        amount: (10 * count).to_string(),
    }
}

/// Closes a range of own accounts in one statement; a core account gets what they had.
fn close(rng: &mut StdRng, connection: u32) -> Moved {
    let (first_id, branch) = own(connection);
    let heir = core_account(rng);
    let low = rng.random_range(0..OWN_KEYS - OWN_KEYS / 5);
    let high = low + OWN_KEYS / 5;
    let (table, condition) = match rng.random_range(0..3) {
        0 => (
            "account",
            format!("id BETWEEN {} AND {}", first_id + low, first_id + high),
        ),
        1 => (
            "branch_account",
            format!(
                "branch IN ({branch}, {}) AND number BETWEEN {low} AND {high}",
                branch + 1
            ),
        ),
        _ => (
            "named_account",
            format!("name LIKE 'p{connection}-%{}'", low % 10),
        ),
    };
    Moved {
        statements: vec![
            format!(
                "SET @moved = (SELECT COALESCE(SUM(balance), 0) FROM {table} \
                 WHERE {condition} FOR UPDATE)"
            ),
            format!("DELETE FROM {table} WHERE {condition}"),
            add(&heir, "@moved"),
        ],
        from: "closed".to_owned(),
        to: heir.label,
        amount: "@moved".to_owned(),
    }
}

/// Primary keys move: a chain where each row takes the place of the next, a change of one part,
/// and names that change but stay equal by collation.
fn change_keys(rng: &mut StdRng, connection: u32) -> Moved {
    let (first_id, branch) = own(connection);
    let statement = match rng.random_range(0..4) {
        0 => format!(
            "UPDATE account SET id = id + 1 WHERE id BETWEEN {first_id} AND {} ORDER BY id DESC",
            first_id + OWN_KEYS
        ),
        1 => format!(
            "UPDATE account SET id = id - 1 WHERE id BETWEEN {first_id} AND {} ORDER BY id",
            first_id + OWN_KEYS
        ),
        2 => format!(
            "UPDATE branch_account SET branch = {} - branch WHERE branch IN ({branch}, {}) \
             ORDER BY number LIMIT 3",
            2 * branch + 1,
            branch + 1
        ),
        _ => {
            let changed = match rng.random_range(0..4) {
                0 => "UPPER(name)",
                1 => "LOWER(name)",
                2 => "REPLACE(name, 'é', 'e')",
                _ => "REPLACE(name, 'nee', 'née')",
            };
            format!("UPDATE named_account SET name = {changed} WHERE name LIKE 'p{connection}-%'")
        }
    };
    Moved {
        statements: vec![statement],
        from: "keys".to_owned(),
        to: "keys".to_owned(),
        amount: "0".to_owned(),
    }
}

/// Two rows swap their values of a unique key, through a third value.
fn swap_unique_values(rng: &mut StdRng, connection: u32) -> Moved {
    let first = rng.random_range(1..CORE_ACCOUNTS);
    let second = rng.random_range(first + 1..=CORE_ACCOUNTS);
    let (first, second) = (core_name(first), core_name(second));
    let read = |variable: &str, name: &str| {
        format!(
            "SET @{variable} = (SELECT iban FROM named_account WHERE name = '{name}' FOR UPDATE)"
        )
    };
    let write = |value: &str, name: &str| {
        format!("UPDATE named_account SET iban = {value} WHERE name = '{name}'")
    };
    Moved {
        statements: vec![
            read("first", &first),
            read("second", &second),
            write(&format!("'swap {connection}'"), &first),
            write("@first", &second),
            write("@second", &first),
        ],
        from: first,
        to: second,
        amount: "0".to_owned(),
    }
}

/// Other columns than the balance; now and then the whole table in one statement.
fn touch(rng: &mut StdRng) -> Moved {
    let width = if rng.random_range(0..20) == 0 {
        CORE_ACCOUNTS
    } else {
        3
    };
    let first = rng.random_range(1..=CORE_ACCOUNTS);
    let last = first + width;
    let rank: i32 = rng.random();
    let statements = vec![
        format!(
            "UPDATE account SET note = {}, rating = rating / 3 + 1, updated = NOW(3) \
             WHERE id BETWEEN {first} AND {last}",
            note(rng)
        ),
        format!(
            "UPDATE branch_account SET kind = 1 + ({rank} & 1), flags = flags ^ 5, bits = bits ^ 9, \
             opens = IF(opens IS NULL, '-01:02:03.45', NULL) WHERE number BETWEEN {first} AND {last}"
        ),
        format!(
            "UPDATE named_account SET profile = JSON_SET(profile, '$.rank', {rank}), seen = NOW(6) \
             WHERE name = '{}'",
            core_name(first)
        ),
    ];
    Moved {
        statements,
        from: "touched".to_owned(),
        to: format!("{first}-{last}"),
        amount: "0".to_owned(),
    }
}

/// A transfer, then more that is undone by ROLLBACK TO SAVEPOINT and must leave no trace.
fn partly_rolled_back(rng: &mut StdRng) -> Moved {
    let mut kept = transfer(rng);
    let undone = touch(rng);
    kept.statements.push("SAVEPOINT before_touch".to_owned());
    kept.statements.extend(undone.statements);
    kept.statements
        .push("ROLLBACK TO SAVEPOINT before_touch".to_owned());
    kept
}

/// NULL, empty, with quotes and beyond ASCII.
fn note(rng: &mut StdRng) -> String {
    match rng.random_range(0..5) {
        0 => "NULL".to_owned(),
        1 => "''".to_owned(),
        2 => r"'it''s \\ 100%'".to_owned(),
        3 => "'trailing space '".to_owned(),
        _ => format!("REPEAT('naïve 🚢 ', {})", rng.random_range(1..=20)),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn the_seed_replays_the_transactions() {
        let (mut one, mut two) = (StdRng::seed_from_u64(7), StdRng::seed_from_u64(7));
        let mut other = StdRng::seed_from_u64(8);
        let plan = |rng: &mut StdRng| (0..50).map(|_| next(rng, 1)).collect::<Vec<_>>();
        let planned = plan(&mut one);
        assert_eq!(planned, plan(&mut two));
        assert_ne!(planned, plan(&mut other));
        assert!(planned.iter().any(|transaction| transaction.rolls_back));
    }
}
