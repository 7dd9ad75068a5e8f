// A tenant, driven by the client library that most programs of this dialect stand on: node client.mjs URL TOKEN
//
// URL is that of the API, http://shop.localhost:PORT/api; TOKEN is one of the tenant's user. The schema is that of
// tests/it/client.rs, empty. A line per step that passed, then `ok N steps`. With LOG=1, every request and answer on
// standard error.
import assert from 'node:assert/strict';
import dns from 'node:dns';
import { PostgrestClient, PostgrestError } from '@supabase/postgrest-js';

// Not every system's resolver knows names below localhost, and fetch takes no Host of its own.
const { lookup } = dns;
dns.lookup = (name, ...rest) => lookup(name.endsWith('.localhost') ? '127.0.0.1' : name, ...rest);

const [url, token] = process.argv.slice(2);

async function logged(address, init) {
    const answer = await fetch(address, init);
    const headers = Object.entries(init.headers).filter(([name]) => !/^(authorization|x-client-info)$/.test(name));
    console.error(`\n${init.method} ${decodeURIComponent(address.slice(url.length))}`, Object.fromEntries(headers));
    console.error(init.body ?? '', `\n=> ${answer.status}`, Object.fromEntries(answer.headers));
    console.error(await answer.clone().text());
    return answer;
}

function client(more) {
    return new PostgrestClient(url, { fetch: process.env.LOG ? logged : undefined, ...more });
}

const db = client({ headers: { Authorization: `Bearer ${token}` } });
const stranger = client();

/** The answer to a request that must succeed. */
async function answer(request, status) {
    const answer = await request;
    assert.equal(answer.error, null, JSON.stringify(answer));
    if (status) {
        assert.equal(answer.status, status, JSON.stringify(answer));
    }
    return answer;
}

/** Its body, as the library reads it. */
async function body(request, status) {
    return (await answer(request, status)).data;
}

/** The error of a request that must fail. */
async function failure(request, status, code) {
    const answer = await request;
    assert.deepEqual([answer.status, answer.error?.code, answer.data], [status, code, null], JSON.stringify(answer));
    return answer.error;
}

/** The names of the customers that pass. */
async function names(narrow) {
    const rows = await body(narrow(db.from('customers').select('name')).order('id'));
    return rows.map((row) => row.name);
}

let steps = 0;
async function step(name, run) {
    try {
        await run();
    } catch (error) {
        console.log(`FAILED: ${name}`);
        throw error;
    }
    steps += 1;
    console.log(name);
}

// Writing, first of all, because there is nothing to read yet.

await step('insert one', async () => {
    const { data, count, statusText } = await answer(
        db.from('customers').insert({ id: 1, name: 'Ana', email: 'ana@example.com', active: true }, { count: 'exact' }),
        201,
    );
    assert.deepEqual([data, count, statusText], [null, 1, 'Created']);
});

await step('insert one, with the row back', async () => {
    const row = { name: 'Bea, "the" (x)', email: 'bea@example.com', city: 'Braga', active: false };
    const [bea] = await body(
        db
            .from('customers')
            .insert({ id: 2, ...row, tags: ['new', 'b c'] })
            .select(),
        201,
    );
    assert.deepEqual(bea, { id: 2, ...row, tags: ['new', 'b c'], details: {} });
});

await step('insert many, with one column back', async () => {
    const rows = [
        { id: 3, name: 'Caio', email: 'caio@example.com', city: null, tags: ['old'], details: { lang: 'pt', age: 7 } },
        { id: 4, name: 'Duda & 100% +1', email: null, city: 'Braga', tags: ['old', 'new'], details: { lang: 'en' } },
    ];
    assert.deepEqual(await body(db.from('customers').insert(rows).select('name'), 201), [
        { name: 'Caio' },
        { name: 'Duda & 100% +1' },
    ]);
});

await step('insert rows of different keys: what is missing is null, or its default', async () => {
    const rows = [
        { id: 90, name: 'x', city: 'Faro' },
        { id: 91, name: 'y' },
    ];
    const cities = (inserted) => inserted.map((row) => row.city);
    const nulls = await body(db.from('customers').insert(rows).select('city'));
    assert.deepEqual(cities(nulls), ['Faro', null]);
    await answer(db.from('customers').delete().gte('id', 90));
    const defaults = await body(db.from('customers').insert(rows, { defaultToNull: false }).select('city'));
    assert.deepEqual(cities(defaults), ['Faro', 'Porto']);
    await answer(db.from('customers').delete().gte('id', 90), 204);
});

await step('insert nothing', async () => {
    assert.deepEqual(await body(db.from('customers').insert([]).select(), 201), []);
});

await step('insert with odd names, large numbers and every kind of text', async () => {
    const product = {
        sku: 'nail/5 mm',
        title: 'Prego – "5"\n\\ ção 🔨',
        'unit price': 0.05,
        weight: 9007199254740993n,
    };
    const back = await body(
        db.from('products').insert(product).select('sku, title, "unit price", weight::text').single(),
    );
    assert.deepEqual(back, { ...product, weight: '9007199254740993' });
    await answer(db.from('products').insert([{ sku: 'saw', title: 'Saw', 'unit price': 20 }]));
    assert.deepEqual(await body(db.from('products').select('sku').gt('unit price', 1).eq('title', 'Saw')), [
        { sku: 'saw' },
    ]);
});

await step('insert with what it belongs to', async () => {
    const orders = [
        { id: 10, customer_id: 1, total: 10.5, days: '[1,5)' },
        { id: 11, customer_id: 1, total: 20, days: '[5,9)' },
        { id: 12, customer_id: 2, total: 7.25, days: '[20,30)' },
    ];
    const rows = await body(db.from('orders').insert(orders).select('id, customer:customers(name)').order('id'), 201);
    assert.deepEqual(rows[2], { id: 12, customer: { name: 'Bea, "the" (x)' } });
    const items = [
        ['saw', 10],
        ['nail/5 mm', 10],
        ['saw', 12],
    ].map(([sku, order_id]) => ({ sku, order_id }));
    await answer(db.from('items').insert(items), 201);
});

// Reading.

await step('select everything', async () => {
    const rows = await body(db.from('customers').select(), 200);
    assert.equal(rows.length, 4);
    assert.deepEqual(Object.keys(rows[0]), ['id', 'name', 'email', 'city', 'active', 'tags', 'details']);
});

await step('select with alias, cast and JSON path', async () => {
    const columns = 'title:name, key:id::text, details->age, language:details->>lang';
    const [caio] = await body(db.from('customers').select(columns).eq('id', 3));
    assert.deepEqual(caio, { title: 'Caio', key: '3', age: 7, language: 'pt' });
});

await step('select with an embedded list and an embedded row', async () => {
    const [ana] = await body(
        db.from('customers').select('name, orders(id, total)').eq('id', 1).order('id', { referencedTable: 'orders' }),
    );
    assert.deepEqual(ana, {
        name: 'Ana',
        orders: [
            { id: 10, total: 10.5 },
            { id: 11, total: 20 },
        ],
    });
    const order = await body(db.from('orders').select('total, customers(name)').eq('id', 10).single());
    assert.deepEqual(order, { total: 10.5, customers: { name: 'Ana' } });
});

await step('select with alias, hint and many-to-many', async () => {
    const columns = 'buyer:customers!orders_customer_id_fkey(name), products(sku)';
    const order = await body(
        db.from('orders').select(columns).eq('id', 10).order('sku', { referencedTable: 'products' }).single(),
    );
    assert.deepEqual(order, { buyer: { name: 'Ana' }, products: [{ sku: 'nail/5 mm' }, { sku: 'saw' }] });
});

await step('select three levels deep, written on several lines', async () => {
    const columns = `
        name,
        orders ( id, items ( products ( title ) ) )
    `;
    const bea = await body(db.from('customers').select(columns).eq('id', 2).single());
    assert.deepEqual(bea, { name: 'Bea, "the" (x)', orders: [{ id: 12, items: [{ products: { title: 'Saw' } }] }] });
});

await step('select with spread', async () => {
    const order = await body(db.from('orders').select('id, ...customers(name, town:city)').eq('id', 12).single());
    assert.deepEqual(order, { id: 12, name: 'Bea, "the" (x)', town: 'Braga' });
    const ana = await body(
        db
            .from('customers')
            .select('name, ...orders(totals:total)')
            .eq('id', 1)
            .order('id', { referencedTable: 'orders' })
            .single(),
    );
    assert.deepEqual(ana, { name: 'Ana', totals: [10.5, 20] });
});

await step('select with an inner embed, filtered and limited within', async () => {
    const rows = await body(db.from('customers').select('name, orders!inner(total)').gt('orders.total', 15));
    assert.deepEqual(rows, [{ name: 'Ana', orders: [{ total: 20 }] }]);
    const ana = await body(
        db
            .from('customers')
            .select('orders(id)')
            .eq('id', 1)
            .order('total', { referencedTable: 'orders', ascending: false })
            .limit(1, { referencedTable: 'orders' })
            .single(),
    );
    assert.deepEqual(ana.orders, [{ id: 11 }]);
    const second = await body(
        db
            .from('customers')
            .select('orders(id)')
            .eq('id', 1)
            .order('id', { referencedTable: 'orders' })
            .range(1, 1, { referencedTable: 'orders' })
            .single(),
    );
    assert.deepEqual(second.orders, [{ id: 11 }]);
    const either = await body(
        db
            .from('customers')
            .select('orders(id)')
            .eq('id', 1)
            .or('total.gt.15,days.cs."[1,2)"', { referencedTable: 'orders' })
            .single(),
    );
    assert.deepEqual(either.orders.length, 2);
});

await step('select those with and without', async () => {
    const without = await body(db.from('customers').select('name, orders()').is('orders', null).order('id'));
    assert.deepEqual(without, [{ name: 'Caio' }, { name: 'Duda & 100% +1' }]);
    const having = await body(db.from('customers').select('name, orders()').not('orders', 'is', null).order('id'));
    assert.equal(having.length, 2);
});

await step('select a view and what it belongs to', async () => {
    const rows = await body(db.from('spenders').select('spent, customers(name)').order('spent', { ascending: false }));
    assert.deepEqual(rows[0], { spent: 30.5, customers: { name: 'Ana' } });
});

await step('select a computed column', async () => {
    assert.deepEqual(await body(db.from('customers').select('shout').eq('shout', 'CAIO').single()), { shout: 'CAIO' });
});

await step('select a computed relationship', async () => {
    const rows = await body(db.from('customers').select('name, dearest(id, total)').lt('id', 4).order('id'));
    assert.deepEqual(rows, [
        { name: 'Ana', dearest: { id: 11, total: 20 } },
        { name: 'Bea, "the" (x)', dearest: { id: 12, total: 7.25 } },
        { name: 'Caio', dearest: null },
    ]);
});

await step('select how many there are, in the way from before aggregates', async () => {
    const all = await body(db.from('customers').select('count'), 200);
    assert.deepEqual(all, [{ count: 4 }]);
    const embedded = await body(db.from('customers').select('name, orders(count)').eq('id', 1), 200);
    assert.deepEqual(embedded[0].orders, [{ count: 2 }]);
});

await step('select nothing but the head', async () => {
    const { data, count, status } = await answer(db.from('customers').select('*', { head: true, count: 'exact' }));
    assert.deepEqual([data, count, status], [null, 4, 200]);
});

await step('select without nulls', async () => {
    const rows = await body(db.from('customers').select('id, city').eq('id', 3).stripNulls());
    assert.deepEqual(rows, [{ id: 3 }]);
    assert.deepEqual(await body(db.from('customers').select('id, city').eq('id', 3).stripNulls().single()), { id: 3 });
});

// Filters.

const [ANA, BEA, CAIO, DUDA] = ['Ana', 'Bea, "the" (x)', 'Caio', 'Duda & 100% +1'];
const filters = [
    ['eq', (q) => q.eq('name', DUDA), [DUDA]],
    ['eq of a boolean', (q) => q.eq('active', true), [ANA]],
    ['neq', (q) => q.neq('id', 1), [BEA, CAIO, DUDA]],
    ['gt', (q) => q.gt('id', 3), [DUDA]],
    ['gte', (q) => q.gte('id', 3), [CAIO, DUDA]],
    ['lt', (q) => q.lt('id', 2), [ANA]],
    ['lte', (q) => q.lte('id', 2), [ANA, BEA]],
    ['like', (q) => q.like('name', '%a%'), [ANA, BEA, CAIO, DUDA]],
    ['like with a star', (q) => q.like('name', 'C*'), [CAIO]],
    ['like of a percent sign', (q) => q.like('name', '%100\\%%'), [DUDA]],
    ['ilike', (q) => q.ilike('name', 'a%'), [ANA]],
    ['likeAllOf', (q) => q.likeAllOf('name', ['%a%', '%o']), [CAIO]],
    ['likeAnyOf', (q) => q.likeAnyOf('name', ['A%', 'C%']), [ANA, CAIO]],
    ['ilikeAllOf', (q) => q.ilikeAllOf('name', ['%A%', '%O']), [CAIO]],
    ['ilikeAnyOf', (q) => q.ilikeAnyOf('name', ['a%', 'c%']), [ANA, CAIO]],
    ['regexMatch', (q) => q.regexMatch('name', '^[AB]'), [ANA, BEA]],
    ['regexIMatch', (q) => q.regexIMatch('name', '^[ab]'), [ANA, BEA]],
    ['is null', (q) => q.is('city', null), [CAIO]],
    ['is false', (q) => q.is('active', false), [BEA]],
    ['isDistinct', (q) => q.isDistinct('city', 'Braga'), [ANA, CAIO]],
    ['in', (q) => q.in('id', [1, 3, 99]), [ANA, CAIO]],
    ['in of texts with commas and brackets', (q) => q.in('name', ['Caio', 'a,b', '(x)']), [CAIO]],
    ['in of nothing', (q) => q.in('id', []), []],
    [
        'in of a long list',
        (q) =>
            q.in(
                'id',
                Array.from({ length: 1500 }, (_, id) => id + 4),
            ),
        [DUDA],
    ],
    ['notIn', (q) => q.notIn('id', [1, 3]), [BEA, DUDA]],
    ['contains of an array', (q) => q.contains('tags', ['old', 'new']), [DUDA]],
    ['contains of JSON', (q) => q.contains('details', { lang: 'pt' }), [CAIO]],
    ['containedBy of an array', (q) => q.containedBy('tags', ['old', 'new']), [ANA, CAIO, DUDA]],
    ['containedBy of JSON', (q) => q.containedBy('details', { lang: 'en', more: 1 }), [ANA, BEA, DUDA]],
    ['overlaps', (q) => q.overlaps('tags', ['"b c"', 'old']), [BEA, CAIO, DUDA]],
    ['textSearch', (q) => q.textSearch('name', 'ana | caio'), [ANA, CAIO]],
    ['textSearch, plain', (q) => q.textSearch('name', 'bea the', { type: 'plain', config: 'simple' }), [BEA]],
    ['textSearch, phrase', (q) => q.textSearch('name', 'bea the', { type: 'phrase', config: 'simple' }), [BEA]],
    ['textSearch, websearch', (q) => q.textSearch('name', 'ana or "caio"', { type: 'websearch' }), [ANA, CAIO]],
    ['match', (q) => q.match({ city: 'Braga', active: false }), [BEA]],
    ['not', (q) => q.not('active', 'is', null), [ANA, BEA]],
    ['not in', (q) => q.not('id', 'in', '(1,2)'), [CAIO, DUDA]],
    ['or', (q) => q.or('id.eq.1,name.eq."Bea, \\"the\\" (x)"'), [ANA, BEA]],
    ['or with and', (q) => q.or('id.eq.1,and(city.eq.Braga,not.and(active.is.false))'), [ANA, DUDA]],
    ['or twice', (q) => q.or('id.eq.1,id.eq.2').or('city.eq.Braga,city.is.null'), [BEA]],
    ['filter', (q) => q.filter('id', 'in', '(1,2)'), [ANA, BEA]],
    ['filter on a JSON path', (q) => q.filter('details->>lang', 'eq', 'en'), [DUDA]],
    ['filter on a JSON number', (q) => q.gt('details->age', 6), [CAIO]],
];
for (const [name, narrow, expected] of filters) {
    await step(`filter: ${name}`, async () => assert.deepEqual(await names(narrow), expected));
}

for (const [name, range, expected] of [
    ['rangeGt', '[2,6)', [12]],
    ['rangeGte', '[5,6)', [11, 12]],
    ['rangeLt', '[5,6)', [10]],
    ['rangeLte', '[1,9)', [10, 11]],
    ['rangeAdjacent', '[9,20)', [11, 12]],
    ['overlaps', '[4,6)', [10, 11]],
    ['contains', '[6,7)', [11]],
]) {
    await step(`filter: ${name} of a range`, async () => {
        const rows = await body(db.from('orders').select('id')[name]('days', range).order('id'));
        assert.deepEqual(
            rows.map((row) => row.id),
            expected,
        );
    });
}

// Which rows, how many, and in what form.

await step('order', async () => {
    const ids = async (query) => (await body(query)).map((row) => row.id);
    const all = () => db.from('customers').select('id');
    assert.deepEqual(
        await ids(all().order('city', { nullsFirst: true }).order('id', { ascending: false })),
        [3, 4, 2, 1],
    );
    assert.deepEqual(await ids(all().order('city', { ascending: false, nullsFirst: false }).order('id')), [1, 2, 4, 3]);
    assert.deepEqual(await ids(all().order('details->>lang', { nullsFirst: false }).order('id')), [4, 3, 1, 2]);
    const orders = db.from('orders').select('id, customers(name)');
    assert.deepEqual(await ids(orders.order('customers(name)', { ascending: false }).order('id')), [12, 10, 11]);
});

await step('order by a relation of which nothing is selected', async () => {
    const orders = db.from('orders').select('id, customers()');
    const ordered = await body(orders.order('customers(name)', { ascending: false }).order('id'), 200);
    assert.deepEqual(ordered.map(({ id }) => id), [12, 10, 11]);
});

await step('limit and range', async () => {
    const all = () => db.from('customers').select('id').order('id');
    assert.deepEqual(await body(all().limit(1), 200), [{ id: 1 }]);
    assert.deepEqual(await body(all().range(1, 2), 200), [{ id: 2 }, { id: 3 }]);
    assert.deepEqual(await body(all().range(100, 200), 200), []);
});

await step('count', async () => {
    const page = (count) => db.from('customers').select('id', { count }).order('id').range(1, 2);
    for (const count of ['exact', 'estimated']) {
        const found = await answer(page(count), 206);
        assert.deepEqual([found.count, found.data.length], [4, 2], count);
    }
    const planned = await answer(page('planned'));
    assert.equal(planned.data.length, 2);
    assert.ok(planned.count > 0, `planned: ${planned.count}`);
    const all = await answer(db.from('customers').select('id, orders!inner()', { count: 'exact' }), 200);
    assert.deepEqual(all.count, 2);
    await failure(db.from('customers').select('*', { count: 'exact' }).range(100, 200), 416, 'PGRST103');
});

await step('single', async () => {
    assert.deepEqual(await body(db.from('customers').select('id').eq('id', 1).single()), { id: 1 });
    const none = await failure(db.from('customers').select('id').eq('id', 99).single(), 406, 'PGRST116');
    assert.deepEqual(none, {
        code: 'PGRST116',
        details: 'The result contains 0 rows',
        hint: null,
        message: 'Cannot coerce the result to a single JSON object',
    });
    const many = await failure(db.from('customers').select('id').single(), 406, 'PGRST116');
    assert.equal(many.details, 'The result contains 4 rows');
});

await step('maybeSingle', async () => {
    assert.deepEqual(await body(db.from('customers').select('id').eq('id', 1).maybeSingle()), { id: 1 });
    assert.equal(await body(db.from('customers').select('id').eq('id', 99).maybeSingle(), 200), null);
    await failure(db.from('customers').select('id').maybeSingle(), 406, 'PGRST116');
});

await step('csv', async () => {
    const text = await body(db.from('customers').select('id, name, city').lt('id', 4).order('id').csv());
    assert.equal(text, 'id,name,city\n1,Ana,Porto\n2,"Bea, ""the"" (x)",Braga\n3,Caio,');
});

await step('schema', async () => {
    assert.equal((await body(db.schema('shop').from('customers').select('id'))).length, 4);
    assert.equal(await body(db.schema('shop').rpc('add', { a: 1, b: 2 })), 3);
    const error = await failure(db.schema('other').from('customers').select('id'), 406, 'PGRST106');
    assert.equal(error.message, 'Invalid schema: other');
    await failure(db.schema('other').from('customers').insert({ name: 'x' }), 406, 'PGRST106');
});

await step('what is off: plans, aggregates, PostGIS', async () => {
    await failure(db.from('customers').select('id').explain(), 406, 'PGRST107');
    await failure(db.from('customers').select('id').explain({ analyze: true, format: 'json' }), 406, 'PGRST107');
    await failure(db.from('orders').select('total.sum()'), 400, 'PGRST123');
    await failure(db.from('customers').select('id').geojson(), 406, '42883');
});

// Changing what is there.

await step('upsert by the primary key', async () => {
    const rows = [
        { sku: 'saw', title: 'Saw 2' },
        { sku: 'axe', title: 'Axe' },
    ];
    assert.deepEqual(await body(db.from('products').upsert(rows).select('sku, title'), 201), rows);
    assert.deepEqual(
        await body(db.from('products').upsert({ sku: 'axe', title: 'Axe 2' }).select('title').single(), 200),
        {
            title: 'Axe 2',
        },
    );
});

await step('upsert by another key', async () => {
    const caio = { name: 'Caio 2', email: 'caio@example.com' };
    assert.deepEqual(
        await body(db.from('customers').upsert(caio, { onConflict: 'email' }).select('id, name, city'), 200),
        [{ id: 3, name: 'Caio 2', city: null }],
    );
    const mixed = [
        { name: 'Eva', email: 'eva@example.com' },
        { name: 'Caio', email: 'caio@example.com' },
    ];
    const { count } = await answer(
        db.from('customers').upsert(mixed, { onConflict: 'email', defaultToNull: false, count: 'exact' }),
        201,
    );
    assert.equal(count, 2);
    assert.deepEqual(await body(db.from('customers').select('name, city').eq('name', 'Eva')), [
        { name: 'Eva', city: 'Porto' },
    ]);
});

await step('upsert that leaves duplicates alone', async () => {
    const rows = [
        { sku: 'axe', title: 'Axe 3' },
        { sku: 'awl', title: 'Awl' },
    ];
    const back = await body(db.from('products').upsert(rows, { ignoreDuplicates: true }).select('sku'), 201);
    assert.deepEqual(back, [{ sku: 'awl' }]);
    const none = await body(
        db.from('products').upsert(rows, { ignoreDuplicates: true, onConflict: 'sku' }).select('sku'),
    );
    assert.deepEqual(none, []);
    assert.equal((await body(db.from('products').select('title').eq('sku', 'axe').single())).title, 'Axe 2');
});

await step('update', async () => {
    assert.equal(await body(db.from('customers').update({ city: 'Lisboa' }).eq('name', 'Eva'), 204), null);
    const { data: rows, count } = await answer(
        db
            .from('customers')
            .update({ tags: ['seen'], details: { a: [1, null] } }, { count: 'exact' })
            .gt('id', 3)
            .select('city, tags, details'),
        200,
    );
    assert.equal(count, 2);
    assert.deepEqual(
        rows.find((row) => row.city === 'Lisboa'),
        { city: 'Lisboa', tags: ['seen'], details: { a: [1, null] } },
    );
    assert.deepEqual(await body(db.from('customers').update({ city: 'Faro' }).eq('id', 99).select(), 200), []);
    await failure(db.from('customers').update({ city: 'Faro' }).eq('id', 99).select().single(), 406, 'PGRST116');
});

await step('an update of too many rows changes none', async () => {
    const error = await failure(
        db.from('customers').update({ city: 'Faro' }).gt('id', 0).maxAffected(1),
        400,
        'PGRST124',
    );
    assert.equal(error.details, 'The query affects 5 rows');
    await failure(db.from('customers').update({ city: 'Faro' }).gt('id', 0).select().single(), 406, 'PGRST116');
    assert.deepEqual(await names((q) => q.eq('city', 'Faro')), []);
    await answer(db.from('customers').update({ city: 'Porto' }).eq('id', 1).maxAffected(1), 204);
});

await step('delete', async () => {
    const gone = await answer(db.from('customers').delete({ count: 'exact' }).eq('name', 'Eva'), 204);
    assert.deepEqual([gone.count, gone.data], [1, null]);
    const none = await answer(db.from('customers').delete({ count: 'exact' }).eq('name', 'Eva').select(), 200);
    assert.deepEqual([none.count, none.data], [0, []]);
    assert.deepEqual(await body(db.from('products').delete().eq('sku', 'awl').select('title').single()), {
        title: 'Awl',
    });
});

await step('rollback is for those to whom it is allowed', async () => {
    await answer(db.from('products').insert({ sku: 'kept', title: 'x' }).rollback(), 201);
    assert.equal((await answer(db.from('products').delete({ count: 'exact' }).eq('sku', 'kept'))).count, 1);
});

// Functions.

await step('rpc of a scalar', async () => {
    assert.equal(await body(db.rpc('add', { a: 1, b: 2 }), 200), 3);
    assert.equal(await body(db.rpc('add', { a: 1 })), 2);
    assert.equal(await body(db.rpc('add', { a: 1, b: 2 }, { get: true })), 3);
    assert.equal(await body(db.rpc('longest', { words: ['a', 'abc', 'ab'] })), 'abc');
    assert.equal(await body(db.rpc('longest', { words: ['a', 'abc', 'ab'] }, { get: true })), 'abc');
    assert.deepEqual(await body(db.rpc('echo', { doc: { deep: [1, 'é'] } })), { deep: [1, 'é'] });
    assert.equal(await body(db.rpc('nothing')), null);
});

await step('rpc of rows, narrowed like a table', async () => {
    const braga = await body(
        db.rpc('customers_in', { town: 'Braga' }).select('name').order('id', { ascending: false }),
    );
    assert.deepEqual(braga, [{ name: DUDA }, { name: BEA }]);
    const bea = db.rpc('customers_in', { town: 'Braga' }, { get: true }).select('name, orders(id)').is('active', false);
    assert.deepEqual(await body(bea.single()), { name: BEA, orders: [{ id: 12 }] });
    const first = await answer(
        db.rpc('customers_in', { town: 'Braga' }, { count: 'exact' }).order('id').range(0, 0),
        206,
    );
    assert.deepEqual([first.count, first.data.map((row) => row.id)], [2, [2]]);
    assert.deepEqual(await body(db.rpc('cities')), [
        { city: 'Braga', customers: 2 },
        { city: 'Porto', customers: 1 },
    ]);
    assert.equal(await body(db.rpc('cities').eq('city', 'Porto').csv()), 'city,customers\nPorto,1');
    assert.equal((await body(db.rpc('richest'))).name, 'Ana');
    assert.equal(await body(db.rpc('customers_in', { town: 'Nowhere' }).maybeSingle()), null);
});

await step('rpc of nothing but the head', async () => {
    const { data, count, status } = await answer(
        db.rpc('customers_in', { town: 'Braga' }, { head: true, count: 'exact' }),
    );
    assert.deepEqual([data, count, status], [null, 2, 200]);
    // An object does not fit into a URL: the library sends a POST then, where `return=minimal` means nothing.
    assert.deepEqual(await body(db.rpc('echo', { doc: { a: { b: 1 } } }, { head: true }), 200), { a: { b: 1 } });
});

await step('rpc of void, which writes', async () => {
    assert.equal(await body(db.rpc('rename_customer', { who: 1, name: 'Anna' }), 204), null);
    assert.deepEqual(await names((q) => q.eq('id', 1)), ['Anna']);
    // GET is for reading.
    await failure(db.rpc('rename_customer', { who: 1, name: 'Ana' }, { get: true }), 405, '25006');
    assert.deepEqual(await names((q) => q.eq('id', 1)), ['Anna']);
});

// What goes wrong.

await step('an unknown table is named, with one that may be meant', async () => {
    assert.deepEqual(await failure(db.from('custmers').select(), 404, 'PGRST205'), {
        code: 'PGRST205',
        details: null,
        hint: "Perhaps you meant the table 'shop.customers'",
        message: "Could not find the table 'shop.custmers' in the schema cache",
    });
});

await step('an unknown column is named', async () => {
    for (const query of [
        db.from('customers').select('nam'),
        db.from('customers').select().eq('nam', 'x'),
        db.from('customers').select().order('nam'),
    ]) {
        const error = await failure(query, 400, '42703');
        assert.equal(error.message, 'column customers.nam does not exist');
    }
    for (const query of [
        db.from('customers').insert({ nam: 'x' }),
        db.from('customers').insert([{ nam: 'x' }]),
        db.from('customers').update({ nam: 'x' }).eq('id', 1),
    ]) {
        const error = await failure(query, 400, 'PGRST204');
        assert.equal(error.message, "Could not find the 'nam' column of 'customers' in the schema cache");
    }
});

await step('an unknown function is named, with one that may be meant', async () => {
    assert.deepEqual(await failure(db.rpc('longst', { a: 1 }), 404, 'PGRST202'), {
        code: 'PGRST202',
        details:
            'Searched for the function shop.longst with parameter a or with a single unnamed json/jsonb parameter, ' +
            'but no matches were found in the schema cache.',
        hint: 'Perhaps you meant to call the function shop.longest',
        message: 'Could not find the function shop.longst(a) in the schema cache',
    });
    await failure(db.rpc('add', { c: 1 }), 404, 'PGRST202');
});

await step('an unknown relationship is named', async () => {
    const error = await failure(db.from('customers').select('products(title)'), 400, 'PGRST200');
    assert.equal(error.message, "Could not find a relationship between 'customers' and 'products' in the schema cache");
    assert.ok(error.details.includes('customers'), error.details);
});

await step('what is not understood is shown', async () => {
    const error = await failure(db.from('customers').select('id,,name('), 400, 'PGRST100');
    assert.match(error.message, /id,,name\(/);
    await failure(db.from('customers').select().filter('id', 'foo', 1), 400, 'PGRST100');
    await failure(db.from('customers').select().eq('id', 'one'), 400, '22P02');
});

await step('what the database refuses has its code, message, details and hint', async () => {
    assert.deepEqual(await failure(db.rpc('refuse', { why: 'because' }), 400, 'P0001'), {
        code: 'P0001',
        details: 'the detail',
        hint: 'the hint',
        message: 'because',
    });
    const taken = await failure(db.from('customers').insert({ name: 'x', email: 'ana@example.com' }), 409, '23505');
    assert.equal(taken.details, 'Key (email)=(ana@example.com) already exists.');
    await failure(db.from('orders').insert({ customer_id: 99, total: 1 }), 409, '23503');
    await failure(db.from('customers').insert({ name: null }), 400, '23502');
    await failure(db.from('products').insert({ sku: '', title: 'x' }), 400, '23514');
});

await step('who has no token reads, and no more', async () => {
    assert.equal((await body(stranger.from('customers').select('id'))).length, 4);
    await failure(stranger.from('customers').insert({ name: 'x' }), 401, '42501');
    const liar = client({ headers: { Authorization: 'Bearer no.such.token' } });
    await failure(liar.from('customers').select('id'), 401, 'PGRST301');
});

await step('throwOnError', async () => {
    await assert.rejects(
        async () => db.from('custmers').select().throwOnError(),
        (error) => {
            assert.ok(error instanceof PostgrestError);
            assert.deepEqual([error.code, error.hint], ['PGRST205', "Perhaps you meant the table 'shop.customers'"]);
            return true;
        },
    );
});

await step('abortSignal', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 100);
    const { error, status } = await db.rpc('wait', { seconds: 4 }).abortSignal(controller.signal);
    assert.deepEqual([status, error.message.split(':')[0]], [0, 'AbortError']);
    // The connection to the database is as good as ever.
    assert.equal((await body(db.from('customers').select('id'))).length, 4);
});

console.log(`ok ${steps} steps`);
