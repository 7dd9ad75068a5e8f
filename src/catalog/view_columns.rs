//! Which column of which table a view's column shows, read from the view's stored query.
//!
//! `pg_rewrite.ev_action` is a list of nodes, `({QUERY … :targetList ({TARGETENTRY … :resno 1 … :resorigtbl 16400
//! :resorigcol 2 …} …) …})`, in the form of `nodeToString` (`src/backend/nodes/outfuncs.c`). The server gives no other
//! account of it: `pg_depend` knows the columns a view needs, not which of them it shows where.

/// One column of a view that shows a column as it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ViewColumn {
    /// Its number in the view.
    pub(super) number: i16,
    /// The table or view that it comes from.
    pub(super) relation: u32,
    /// Its number there.
    pub(super) column: i16,
}

/// The columns in the target list of the view's own query; those of its subqueries are deeper.
pub(super) fn view_columns(action: &str) -> Vec<ViewColumn> {
    let mut columns = Vec::new();
    let mut depth = 0_usize;
    // The depth of the entries, once the list has begun.
    let mut entries = None;
    let (mut number, mut relation, mut column) = (None, None, None);
    let mut tokens = Tokens(action);
    while let Some(token) = tokens.next() {
        match token {
            "{" | "(" => depth += 1,
            "}" | ")" => {
                if token == "}"
                    && entries == Some(depth)
                    && let (Some(number), Some(relation), Some(column)) = (number, relation, column)
                    && relation != 0
                {
                    columns.push(ViewColumn {
                        number,
                        relation,
                        column,
                    });
                }
                depth = depth.saturating_sub(1);
                if entries.is_some_and(|entry| depth + 1 < entry) {
                    return columns;
                }
            }
            // `(` `{QUERY` are two levels, `(` `{TARGETENTRY` two more.
            ":targetList" if depth == 2 => entries = Some(depth + 2),
            ":resno" if entries == Some(depth) => number = value(&mut tokens),
            ":resorigtbl" if entries == Some(depth) => relation = value(&mut tokens),
            ":resorigcol" if entries == Some(depth) => column = value(&mut tokens),
            _ => {}
        }
    }
    columns
}

fn value<T: std::str::FromStr>(tokens: &mut Tokens<'_>) -> Option<T> {
    tokens.next()?.parse().ok()
}

/// The tokens of `nodeToString`: brackets, and what stands between white space. A backslash makes the next byte plain.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        let bytes = text.as_bytes();
        let end = match bytes.first()? {
            b'{' | b'}' | b'(' | b')' => 1,
            _ => {
                let mut at = 0;
                while let Some(&byte) = bytes.get(at) {
                    match byte {
                        b'\\' => at += 2,
                        b'{' | b'}' | b'(' | b')' => break,
                        byte if byte.is_ascii_whitespace() => break,
                        _ => at += 1,
                    }
                }
                at.min(bytes.len())
            }
        };
        // A backslash before a character of several bytes ends within it: then the rest is not ASCII syntax, go on behind.
        let end = (end..=text.len())
            .find(|&at| text.is_char_boundary(at))
            .unwrap_or(text.len());
        let (token, rest) = text.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_outer_target_list_counts() {
        let action = r"({QUERY :commandType 1 :cteList <> :rtable ({RANGETBLENTRY :subquery {QUERY :targetList
            ({TARGETENTRY :resno 1 :resname x :resorigtbl 7 :resorigcol 7})} :colnames (\(a \{\:resno\ 9)}) :targetList
            ({TARGETENTRY :expr {VAR :varno 1 :location 7} :resno 1 :resname a\)b :ressortgroupref 0 :resorigtbl 16400
            :resorigcol 2 :resjunk false} {TARGETENTRY :expr {CONST :constvalue 4 [ 1 0 0 0 ]} :resno 2 :resname c
            :resorigtbl 0 :resorigcol 0} {TARGETENTRY :resno 3 :resorigtbl 16400 :resorigcol 2}) :override 0})";
        let shown = |number, column| ViewColumn {
            number,
            relation: 16400,
            column,
        };
        assert_eq!(view_columns(action), [shown(1, 2), shown(3, 2)]);
        assert_eq!(view_columns("<>"), []);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in r"([(){}\\: é]|:targetList|:resno 1|:resorigtbl 2){0,40}") {
            let _ = view_columns(&text);
        }
    }
}
