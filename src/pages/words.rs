//! Every word of the pages, in English and Portuguese. A `{}` is filled in by [`fill`].

use super::{Scope, State};

/// The words of the pages in one language.
#[derive(Debug)]
#[expect(missing_docs, reason = "each says itself what it says")]
pub struct Words {
    pub lang: &'static str,
    pub fields: WordFields,
}

macro_rules! words {
    ($($name:ident: $english:literal / $portuguese:literal;)+) => {
        /// The words by name.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "each says itself what it says")]
        pub struct WordFields { $(pub $name: &'static str),+ }

        /// English.
        pub static ENGLISH: Words = Words { lang: "en", fields: WordFields { $($name: $english),+ } };
        /// Portuguese.
        pub static PORTUGUESE: Words = Words { lang: "pt", fields: WordFields { $($name: $portuguese),+ } };

        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $portuguese)),+];
    };
}

impl std::ops::Deref for Words {
    type Target = WordFields;

    fn deref(&self) -> &WordFields {
        &self.fields
    }
}

impl Words {
    /// Whose rows a relation holds, on a badge.
    pub(crate) fn scope(&self, scope: &Scope) -> &'static str {
        match scope {
            Scope::Tenant => self.own_one,
            Scope::Shared => self.shared_one,
        }
    }

    /// Whether a tenant serves.
    pub(crate) fn of_state(&self, state: &State) -> &'static str {
        match state {
            State::Live => self.live,
            State::Onboarding => self.onboarding,
            State::Failed => self.failed,
            State::Draining => self.draining,
        }
    }
}

words! {
    // Of every page.
    skip: "Skip to the content" / "Pular para o conteúdo";
    console: "Console" / "Console";
    street: "Street" / "Rua";
    data: "Data" / "Dados";
    api: "API" / "API";
    tables: "Tables" / "Tabelas";
    own: "own" / "próprias";
    shared: "shared" / "compartilhadas";
    own_one: "own" / "própria";
    shared_one: "shared" / "compartilhada";
    own_about: "Only {} sees these rows." / "Só {} vê estas linhas.";
    shared_about: "Every tenant sees these same rows." / "Todos os inquilinos veem estas mesmas linhas.";
    account: "Account" / "Conta";
    sign_in: "Sign in" / "Entrar";
    sign_out: "Sign out" / "Sair";
    cancel: "Cancel" / "Cancelar";
    back: "Back" / "Voltar";
    no_page: "There is no such page, or it is not yours to see." / "Não há tal página, ou você não pode vê-la.";
    status: "status" / "estado HTTP";
    request: "Request" / "Requisição";
    read_only: "read only" / "somente leitura";

    // The pages for readers.
    start_page: "{}: start page" / "{}: página inicial";
    tenants_link: "tenants" / "inquilinos";
    pages_nav: "Pages" / "Páginas";
    json_rows: "JSON" / "JSON";
    of_this_page: "of this page" / "desta página";
    rows_from_to: "Rows {}–{}" / "Linhas {}–{}";
    caption_rows: "{}, rows {} to {}" / "{}, linhas {} a {}";
    no_rows_on_page: "No rows on page {}." / "Não há linhas na página {}.";
    first_row_here: "The first row that is written to {} shows up here." / "A primeira linha que for escrita em {} aparece aqui.";
    back_to_first: "Back to the first page" / "Voltar à primeira página";
    cut_here: "Cut here." / "Cortado aqui.";
    whole_value: "The whole value as JSON" / "O valor inteiro em JSON";
    page_number: "Page {}" / "Página {}";
    title_page: ", page {}" / ", página {}";
    own_table: "own table" / "tabela própria";
    shared_table: "shared table" / "tabela compartilhada";
    to_start: "To the start page" / "Para a página inicial";
    all_tenants: "Tenants" / "Inquilinos";
    all_tenants_about: "Every tenant of this server: its hosts, its schema and whether it serves." / "Todos os inquilinos deste servidor: os hosts, o esquema e se estão ativos.";
    tenants_like: "Tenants that match “{}”." / "Inquilinos que correspondem a “{}”.";
    no_tenant_like: "No tenant matches “{}”." / "Nenhum inquilino corresponde a “{}”.";
    in_all: "in all" / "ao todo";
    find: "Find" / "Procurar";
    no_tenants_on_page: "No tenants on page {}." / "Não há inquilinos na página {}.";
    no_tenants_yet: "No tenants yet." / "Ainda não há inquilinos.";
    file_makes_one: "A file in config/tenants/ makes one." / "Um arquivo em config/tenants/ cria um.";
    tenants_caption: "Tenants, {} to {} of {}" / "Inquilinos, {} a {} de {}";
    see_status: "see the console" / "veja o console";

    // Signing in.
    sign_in_to: "Sign in to {}" / "Entrar em {}";
    user_name: "Name" / "Nome";
    password: "Password" / "Senha";
    wrong_password: "There is no such user with this password." / "Não há usuário com esta senha.";
    wait: "Too many attempts. Try again in {} s." / "Muitas tentativas. Tente de novo em {} s.";
    no_users: "Nobody can sign in here yet. The operator adds the first user on the command line:" / "Ainda ninguém pode entrar aqui. O operador acrescenta o primeiro usuário na linha de comando:";
    replay: "You are signed in again" / "Você entrou de novo";
    replay_about: "What you had written is still here. Send it now?" / "O que você tinha escrito ainda está aqui. Enviar agora?";
    replay_send: "Send it" / "Enviar";
    ended: "The session has ended. Sign in, and what you have written can be sent." / "A sessão terminou. Entre, e o que você escreveu poderá ser enviado.";
    signed_out: "You are signed out." / "Você saiu.";
    other_site: "This form came from another site, or is too old. Load the page again and repeat it." / "Este formulário veio de outro site ou é antigo demais. Recarregue a página e repita.";
    is_down: "The database cannot be reached, so nobody can sign in. Try again soon." / "Não se chega ao banco de dados, por isso ninguém pode entrar. Tente de novo em breve.";

    // The account.
    signed_in_as: "Signed in as {}, acting as the role {}." / "Você entrou como {}, com o papel {}.";
    sessions: "Sessions" / "Sessões";
    this_session: "this one" / "esta";
    started: "began" / "começou";
    last_seen: "last used" / "último uso";
    browser: "browser" / "navegador";
    sign_out_everywhere: "Sign out everywhere" / "Sair de todos os dispositivos";
    sign_out_everywhere_about: "Ends every session of yours, this one as well." / "Termina todas as suas sessões, esta também.";
    change_password: "Change the password" / "Mudar a senha";
    old_password: "Current password" / "Senha atual";
    new_password: "New password" / "Senha nova";
    new_password_again: "New password, again" / "Senha nova, outra vez";
    password_rule: "At least {} characters." / "Pelo menos {} caracteres.";
    passwords_differ: "The two new passwords differ." / "As duas senhas novas são diferentes.";
    old_password_wrong: "That is not the current password." / "Essa não é a senha atual.";
    password_changed: "The password is changed; other sessions have ended." / "A senha foi mudada; as outras sessões terminaram.";

    // The overview.
    overview_of: "What {} can reach" / "O que {} alcança";
    overview_own: "Own tables" / "Tabelas próprias";
    overview_own_about: "Only this tenant sees their rows." / "Só este inquilino vê as suas linhas.";
    overview_shared: "Shared tables" / "Tabelas compartilhadas";
    overview_shared_about: "Every tenant sees the same rows." / "Todos os inquilinos veem as mesmas linhas.";
    no_tables: "No tables yet. A migration makes them." / "Ainda não há tabelas. Uma migração as cria.";
    table: "table" / "tabela";
    view: "view" / "view";
    columns: "columns" / "colunas";
    find_table: "Find a table" / "Procurar tabela";

    // A list.
    new_row: "New row" / "Nova linha";
    import: "Import" / "Importar";
    export: "Export" / "Exportar";
    search: "Search" / "Procurar";
    search_about: "in every column of text" / "em todas as colunas de texto";
    filters: "Filters" / "Filtros";
    filter_column: "column" / "coluna";
    filter_operator: "comparison" / "comparação";
    filter_value: "value" / "valor";
    choose_column: "— column —" / "— coluna —";
    remove_filter: "Remove this filter" / "Retirar este filtro";
    apply: "Apply" / "Aplicar";
    clear: "Show all" / "Mostrar tudo";
    shown_columns: "Columns" / "Colunas";
    rows: "rows" / "linhas";
    row: "row" / "linha";
    about_rows: "about {} rows" / "cerca de {} linhas";
    no_rows: "No rows yet." / "Ainda não há linhas.";
    no_rows_found: "No row is like that." / "Nenhuma linha é assim.";
    no_rows_here: "No more rows." / "Não há mais linhas.";
    previous: "Previous" / "Anteriores";
    next: "Next" / "Seguintes";
    first: "First" / "Início";
    pages: "Pages" / "Páginas";
    sort_by: "Sort by {}" / "Ordenar por {}";
    select_row: "Select row {}" / "Escolher a linha {}";
    selection: "selected" / "escolhida";
    select_all: "Select all rows of this page" / "Escolher todas as linhas desta página";
    with_selected: "With the selected rows:" / "Com as linhas escolhidas:";
    delete: "Delete" / "Apagar";
    set: "Set" / "Definir";
    set_to: "to" / "como";
    none_selected: "No row was selected." / "Nenhuma linha foi escolhida.";
    yes: "yes" / "sim";
    no: "no" / "não";
    bytes: "{} bytes" / "{} bytes";
    misfit: "The filter of {} does not fit, or lacks its value." / "O filtro de {} não serve, ou falta o valor.";
    as_api: "This list in the API" / "Esta lista na API";

    // Comparisons.
    op_is: "is" / "é";
    op_not: "is not" / "não é";
    op_contains: "contains" / "contém";
    op_starts: "begins with" / "começa com";
    op_ends: "ends with" / "termina com";
    op_gt: "is more than" / "é mais do que";
    op_gte: "is at least" / "é pelo menos";
    op_lt: "is less than" / "é menos do que";
    op_lte: "is at most" / "é no máximo";
    op_in: "is one of (a, b)" / "é um de (a, b)";
    op_has: "holds" / "inclui";
    op_any: "overlaps" / "cruza-se com";
    op_words: "has the words" / "tem as palavras";
    op_match: "matches the pattern" / "corresponde a o padrão";
    op_yes: "is yes" / "é sim";
    op_no: "is no" / "é não";
    op_null: "is empty (NULL)" / "está vazio (NULL)";
    op_notnull: "is not empty" / "não está vazio";

    // A row.
    new_row_of: "New row of {}" / "Nova linha de {}";
    row_of: "Row of {}" / "Linha de {}";
    save: "Save" / "Salvar";
    create: "Create" / "Criar";
    duplicate: "Duplicate" / "Duplicar";
    required: "required" / "obrigatório";
    key: "key" / "chave";
    generated: "made by the database" / "feito pelo banco de dados";
    default_is: "left empty: {}" / "se vazio: {}";
    null_box: "NULL" / "NULL";
    leave_bytes: "{} bytes; left as they are unless you write others, in hexadecimal: \\x0a0b" / "{} bytes; ficam como estão a não ser que escreva outros, em hexadecimal: \\x0a0b";
    new_bytes: "bytes in hexadecimal: \\x0a0b" / "bytes em hexadecimal: \\x0a0b";
    lines_about: "one item a line" / "um elemento por linha";
    json_about: "JSON" / "JSON";
    timestamp_about: "2026-11-28 09:30:00+00" / "2026-11-28 09:30:00+00";
    timestamp_plain_about: "2026-11-28 09:30:00" / "2026-11-28 09:30:00";
    choose: "— choose —" / "— escolher —";
    find_in: "Find in {}" / "Procurar em {}";
    shows: "now: {}" / "agora: {}";
    no_json: "This is no JSON: {}" / "Isto não é JSON: {}";
    no_such_row: "There is no such row, or it is not yours to see." / "Não há tal linha, ou você não pode vê-la.";
    not_saved: "Nothing was saved." / "Nada foi salvo.";
    nothing_changed: "Nothing was different, so nothing was saved." / "Nada era diferente, por isso nada foi salvo.";
    related: "Related rows" / "Linhas relacionadas";
    related_of: "{} by {}" / "{} por {}";
    show_all_related: "Show them all" / "Mostrar todas";
    saved: "Saved." / "Salva.";
    created: "Created." / "Criada.";
    deleted_one: "1 row is deleted." / "1 linha foi apagada.";
    deleted: "{} rows are deleted." / "{} linhas foram apagadas.";
    changed: "{} rows are changed." / "{} linhas foram alteradas.";
    changed_one: "1 row is changed." / "1 linha foi alterada.";

    // Asking back.
    sure_delete: "Delete {} rows of {}?" / "Apagar {} linhas de {}?";
    sure_delete_one: "Delete this row of {}?" / "Apagar esta linha de {}?";
    sure_set: "Set {} of {} rows?" / "Mudar {} de {} linhas?";
    sure_related: "What refers to it, and may go as well or be in the way:" / "O que se refere a ela e pode ir junto ou impedir:";
    sure_about: "This cannot be undone." / "Isto não pode ser desfeito.";
    and_more: "… and {} more" / "… e mais {}";

    // Import.
    import_into: "Import into {}" / "Importar para {}";
    import_about: "A CSV file whose first line names the columns, or a JSON array of objects. All rows are added in one transaction, or none." / "Um arquivo CSV cuja primeira linha nomeia as colunas, ou uma lista JSON de objetos. Todas as linhas são acrescentadas numa só transação, ou nenhuma.";
    import_file: "File" / "Arquivo";
    import_text: "… or the text itself" / "… ou o próprio texto";
    import_format: "Format" / "Formato";
    import_preview: "Preview" / "Pré-visualizar";
    import_run: "Import {} rows" / "Importar {} linhas";
    import_first: "The first rows" / "As primeiras linhas";
    import_good: "{} rows. The database takes all of them; nothing is stored yet." / "{} linhas. O banco de dados aceita todas; ainda nada foi salvo.";
    import_bad: "The database would refuse this; nothing was stored." / "O banco de dados recusaria isto; nada foi salvo.";
    import_unknown: "There is no column {}." / "Não há coluna {}.";
    import_no_file: "Choose a file, or write rows." / "Escolha um arquivo ou escreva linhas.";
    import_row: "The first row that does not fit is number {}." / "A primeira linha que não serve é a número {}.";
    import_too_many: "An import has at most {} rows." / "Uma importação tem no máximo {} linhas.";
    imported: "{} rows are imported." / "{} linhas foram importadas.";
    imported_one: "1 row is imported." / "1 linha foi importada.";
    closed_idle_one: "1 connection is closed." / "1 ligação foi fechada.";
    import_large: "a file has at most 32 MiB" / "um arquivo tem no máximo 32 MiB";
    import_failed: "The file was not taken:" / "O arquivo não foi aceito:";
    import_twice: "The column {} stands twice." / "A coluna {} aparece duas vezes.";
    import_empty: "There are no rows in it." / "Não há linhas nele.";
    import_nulls: "In CSV an empty field is NULL where the column permits it, and so is NULL." / "Em CSV um campo vazio é NULL onde a coluna o permite, e NULL também.";
    sending: "Sending" / "Enviando";
    working: "The database is at work …" / "O banco de dados está trabalhando …";

    // The street.
    tenants: "tenants" / "inquilinos";
    street_about: "Every tenant of this edge, those in trouble first." / "Todos os inquilinos deste servidor, primeiro os que têm problemas.";
    find_tenant: "Find a tenant" / "Procurar inquilino";
    find_tenant_about: "id, host or state" / "id, host ou estado";
    found: "found" / "encontrados";
    no_tenant: "No tenant is like that." / "Nenhum inquilino é assim.";
    page_of: "Page {} of {}" / "Página {} de {}";
    tenant: "tenant" / "inquilino";
    state: "state" / "estado";
    live: "live" / "ativo";
    onboarding: "onboarding" / "em preparação";
    failed: "failed" / "falhou";
    draining: "drained" / "fora de serviço";
    hosts: "hosts" / "hosts";
    schema: "schema" / "esquema";
    cluster: "cluster" / "cluster";
    clusters: "Clusters" / "Clusters";
    requests_s: "requests/s" / "requisições/s";
    errors_s: "errors/s" / "erros/s";
    half: "p50" / "p50";
    most: "p99" / "p99";
    connections: "connections" / "conexões";
    idle: "idle" / "livres";
    waiting: "waiting" / "à espera";
    in_use: "in use" / "em uso";
    budget: "budget" / "orçamento";
    shared_connections: "shared" / "compartilhadas";
    trouble: "trouble" / "problema";
    none: "none" / "nenhum";
    none_f: "none" / "nenhuma";
    catalog: "catalog" / "catálogo";
    migrations: "migrations" / "migrações";
    pending: "{} pending" / "{} por aplicar";
    config_errors: "Files that are not used" / "Arquivos que não são usados";
    config_errors_about: "What was good before serves on." / "O que estava bem antes continua servindo.";
    last_hour: "The last hour" / "A última hora";
    from_hour: "-60 min" / "-60 min";
    to_now: "now" / "agora";
    latest: "latest" / "último";
    highest: "highest" / "máximo";
    chart_requests: "Requests" / "Requisições";
    chart_errors: "errors" / "erros";
    chart_latency: "Latency" / "Latência";
    chart_slots: "Connections" / "Conexões";
    actions: "Actions" / "Ações";
    reload: "Reload the configuration" / "Recarregar a configuração";
    reload_about: "Reads every file again, as SIGHUP does, and looks at every tenant's migrations." / "Lê todos os arquivos de novo, como o SIGHUP, e revê as migrações de cada inquilino.";
    reloaded: "The configuration is being read again." / "A configuração está sendo lida de novo.";
    drain: "Drain" / "Tirar de serviço";
    drain_about: "New requests get 503, those that run finish. On this edge alone, until it is resumed or the edge starts again." / "Requisições novas recebem 503, as em andamento terminam. Só neste servidor, até ser retomado ou o servidor recomeçar.";
    drained: "The tenant is drained." / "O inquilino está fora de serviço.";
    resume: "Resume" / "Retomar";
    resumed: "The tenant serves again." / "O inquilino volta a servir.";
    close_idle: "Close idle connections" / "Fechar conexões livres";
    close_idle_about: "They are opened again when a request needs them." / "São abertas de novo quando uma requisição precisar.";
    closed_idle: "{} connections are closed." / "{} conexões foram fechadas.";
    sign_token: "Sign a token" / "Assinar um token";
    sign_token_about: "Who has it may act as the role until it expires. It is shown once." / "Quem o tiver pode agir com o papel até expirar. É mostrado uma só vez.";
    role: "role" / "papel";
    expires: "good for" / "válido por";
    hour: "1 hour" / "1 hora";
    day: "1 day" / "1 dia";
    month: "30 days" / "30 dias";
    token: "Token" / "Token";
    token_for: "For the role {}, good for {}." / "Para o papel {}, válido por {}.";
    no_key: "There is no key to sign with: see jwt_secret_env in docs/operations.md." / "Não há chave para assinar: veja jwt_secret_env em docs/operations.md.";
    limits: "Limits" / "Limites";
    slowest: "Slowest requests of the last hour" / "Requisições mais lentas da última hora";
    request_shape: "request, without its values" / "requisição, sem os valores";
    times: "times" / "vezes";
    longest: "longest" / "mais longo";
    errors: "Last failures" / "Últimas falhas";
    when: "when" / "quando";
    code: "code" / "código";
    no_slow: "Nothing took longer than a millisecond." / "Nada demorou mais de um milissegundo.";
    no_failures: "Nothing has failed." / "Nada falhou.";
    sure_do: "{}: {}?" / "{}: {}?";
    resume_about: "Its requests are answered again." / "As suas requisições voltam a ser respondidas.";

    // The page of the API.
    api_of: "{} in the API" / "{} na API";
    api_all: "The API of {}" / "A API de {}";
    api_about: "What programs can ask of this tenant, with this host alone." / "O que os programas podem pedir a este inquilino, só com este host.";
    api_read: "Read rows" / "Ler linhas";
    api_write: "Write rows" / "Escrever linhas";
    api_token_about: "A token that the operator signs goes where TOKEN stands; reading may need none." / "Um token assinado pelo operador vai no lugar de TOKEN; ler pode não precisar de nenhum.";
    api_columns: "Columns" / "Colunas";
    api_document: "OpenAPI document" / "Documento OpenAPI";
    api_operations: "Operations" / "Operações";
    api_parameters: "Parameters" / "Parâmetros";
    api_try: "Try it" / "Experimentar";
    api_try_as: "It runs as {}." / "Executa como {}.";
    api_try_anonymous: "Nobody is signed in: it runs without a token." / "Ninguém entrou: executa sem token.";
    api_method: "Method" / "Método";
    api_query: "Query string" / "Parâmetros do endereço";
    api_body: "Body (JSON)" / "Corpo (JSON)";
    api_prefer: "Prefer" / "Prefer";
    api_send: "Send" / "Enviar";
    api_not_sent: "Not sent" / "Não enviado";
    api_needs_filter: "Without a filter this would concern every row. Write one into the query string, such as id=eq.1." / "Sem filtro isto abrangeria todas as linhas. Escreva um nos parâmetros, como id=eq.1.";
    api_answer: "Answer" / "Resposta";
    api_type: "type" / "tipo";
    api_about_column: "about" / "sobre";
    api_relations: "embeds" / "inclui";
    copy: "Copy" / "Copiar";
    copied: "Copied" / "Copiado";
    open_console: "Open in the console" / "Abrir no console";
    open_json: "The rows as JSON" / "As linhas em JSON";
}

/// The language of a reader, by the value of `Accept-Language` (RFC 9110, 12.5.4): whichever of the two stands higher,
/// English if neither does.
#[must_use]
pub fn of(accept_language: &str) -> &'static Words {
    let mut best = (&ENGLISH, 0.0);
    for range in accept_language.split(',') {
        let mut parts = range.split(';');
        let tag = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.trim().strip_prefix("q=")?.parse::<f32>().ok());
        let quality = quality.unwrap_or(1.0);
        let language = match tag.split('-').next() {
            Some("en") => &ENGLISH,
            Some("pt") => &PORTUGUESE,
            _ => continue,
        };
        if quality > best.1 {
            best = (language, quality);
        }
    }
    best.0
}

/// `text` with one `{}` after the other replaced.
#[must_use]
pub fn fill(text: &str, values: &[&str]) -> String {
    let mut pieces = text.split("{}");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for (at, piece) in pieces.enumerate() {
        filled.push_str(values.get(at).copied().unwrap_or_default());
        filled.push_str(piece);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_say_the_same() {
        for (name, english, portuguese) in ALL {
            let holes = |text: &str| text.matches("{}").count();
            assert_eq!(holes(english), holes(portuguese), "{name}");
            assert!(!english.is_empty() && !portuguese.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_reader_chooses_the_language() {
        for (header, language) in [
            ("", "en"),
            ("*", "en"),
            ("fr", "en"),
            ("pt", "pt"),
            ("pt-BR,pt;q=0.9,en;q=0.8", "pt"),
            ("en-GB, pt;q=0.9", "en"),
            ("en;q=0.5, PT-pt;q=0.7", "pt"),
            ("fr, pt;q=0.1", "pt"),
            ("pt;q=x", "pt"),
            ("pt;q=0", "en"),
        ] {
            assert_eq!(of(header).lang, language, "{header:?}");
        }
    }

    #[test]
    fn holes_are_filled_in_order() {
        assert_eq!(fill("{} of {}", &["1", "{}"]), "1 of {}");
        assert_eq!(fill("none", &["1"]), "none");
        assert_eq!(fill("{} {}", &["1"]), "1 ");
    }
}
