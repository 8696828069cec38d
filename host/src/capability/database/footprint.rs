//! Whether a statement can leave something behind in its session.
//!
//! Settings and session locks outlive a statement, and only a function can make
//! them (`set_config`, `pg_advisory_lock`, …), be it one that runs SQL given as
//! text (`query_to_xml`). Resetting each session after each call would cost a
//! round trip, so what looks like a call in a statement is compared with a list
//! of functions that leave nothing. The reading is suspicious: whatever it does
//! not understand counts as leaving something, which costs a reset, no more.

/// Functions that leave nothing, and words that stand before a parenthesis
/// without being functions.
const HARMLESS: [&str; 61] = [
    "abs",
    "all",
    "and",
    "any",
    "array_agg",
    "as",
    "avg",
    "btrim",
    "by",
    "cardinality",
    "case",
    "ceil",
    "char_length",
    "clock_timestamp",
    "coalesce",
    "conflict",
    "count",
    "date_trunc",
    "distinct",
    "else",
    "except",
    "exists",
    "extract",
    "filter",
    "floor",
    "from",
    "gen_random_uuid",
    "greatest",
    "in",
    "intersect",
    "jsonb_agg",
    "jsonb_build_object",
    "key",
    "lateral",
    "least",
    "left",
    "length",
    "lower",
    "make_interval",
    "materialized",
    "max",
    "min",
    "not",
    "now",
    "nullif",
    "on",
    "or",
    "over",
    "pg_advisory_xact_lock",
    "hashtextextended",
    "round",
    "select",
    "set",
    "sum",
    "then",
    "tstzrange",
    "unnest",
    "upper",
    "values",
    "when",
    "where",
];

#[derive(Clone, Copy, PartialEq)]
enum Token<'a> {
    /// A name or key word, with the dots inside.
    Word(&'a str),
    Open,
    Other,
}

/// False: whoever gets the session next finds it as it was.
pub fn leaves_something(sql: &str) -> bool {
    let Some(tokens) = tokens(sql) else { return true };
    let word = |index: Option<usize>| match index.and_then(|index| tokens.get(index)) {
        Some(Token::Word(word)) => *word,
        _ => "",
    };
    let is = |index: Option<usize>, wanted: &str| word(index).eq_ignore_ascii_case(wanted);
    let may_leave = |(at, token): (usize, &Token<'_>)| {
        let before = word(at.checked_sub(1));
        // `insert into t (a, b)`, `insert into t as x (a, b)`: columns, no call.
        let is_columns =
            is(at.checked_sub(2), "into") || (is(at.checked_sub(2), "as") && is(at.checked_sub(4), "into"));
        let harmless = HARMLESS.iter().any(|harmless| harmless.eq_ignore_ascii_case(before));
        *token == Token::Open && !before.is_empty() && !is_columns && !harmless
    };
    tokens.iter().enumerate().any(may_leave)
}

/// None: it holds what PostgreSQL might read in another way (escapes, quoted
/// names, dollar quotes, comments in comments, letters of other alphabets).
fn tokens(sql: &str) -> Option<Vec<Token<'_>>> {
    let suspicious = !sql.is_ascii() || sql.contains(['\\', '"']) || sql.contains("/*");
    let mut dollars = sql.match_indices('$').map(|(at, _)| sql.as_bytes().get(at + 1));
    if suspicious || dollars.any(|next| !next.is_some_and(u8::is_ascii_digit)) {
        return None;
    }
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        if let Some(text) = rest.strip_prefix('\'') {
            // A doubled quote inside reads as two texts side by side: as good.
            rest = text.split_once('\'')?.1;
            tokens.push(Token::Other);
        } else if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if letter.is_ascii_alphabetic() || letter == '_' {
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '.');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            tokens.push(Token::Word(word));
            rest = after;
        } else {
            if !letter.is_ascii_whitespace() {
                tokens.push(if letter == '(' { Token::Open } else { Token::Other });
            }
            rest = rest.get(1..)?;
        }
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::leaves_something;

    #[test]
    fn what_only_reads_and_writes_rows_leaves_nothing() {
        for sql in [
            "select c.id from a.b c where c.id = $1 and (c.level = 'a(b)' or c.x in (1, 2))",
            "-- set_config()\nselect count(*), lower(x) from t where exists (select from u)",
            "insert into a.b (c, d) values ($1, coalesce($2, 'it''s (fine)'))",
            "insert into a.b as x (c) select (now()) on conflict (c) do update set c = (excluded.c)",
            "with x as (select 1), y as materialized (select 2) select * from x",
        ] {
            assert!(!leaves_something(sql), "{sql}");
        }
    }

    #[test]
    fn whatever_could_change_the_session_is_seen() {
        for sql in [
            "select set_config('role', 'x', false)",
            "select SET_CONFIG ('role', 'x', false)",
            "select pg_catalog.set_config('role', 'x', false)",
            "select pg_catalog . set_config('role', 'x', false)",
            "select set_config -- a comment\n ('a', 'b', false)",
            "select set_config /* a comment */ ('a', 'b', false)",
            "select \"set_config\"('a', 'b', false)",
            "select U&\"s!0065t_config\" uescape '!' ('a', 'b', false)",
            "select E'\\'', set_config('a', 'b', false), '",
            "select $a$ ' $a$, set_config('a', 'b', false), $a$ ' $a$",
            "select $$ ' $$, set_config('a', 'b', false), $$ ' $$",
            "select * from set_config('a', 'b', false) as now",
            "select pg_advisory_lock(1)",
            "select pg_try_advisory_lock_shared (1)",
            "select query_to_xml('select set_' || 'config(1)', true, true, '')",
            "select count(set_config('a', 'b', false))",
            "select 'an open text",
            "select größe(1)",
            "select into(1) from set_config('a', 'b', false)",
        ] {
            assert!(leaves_something(sql), "{sql}");
        }
    }
}
