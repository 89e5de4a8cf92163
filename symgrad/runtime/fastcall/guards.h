/* Guards: places that a compiled function was traced from, and what stood there. They are compared at
 * each call; where one differs the call is slow, and Python finds out what has changed.
 *
 * A row of symgrad/captures/rows.py each. Expected objects are compared by address alone, which tells
 * them from all others as long as they live: the tuple that Python hands over keeps them. The layouts
 * of dict, list and dict keys are those of CPython 3.11 to 3.13, the only ones that dispatch.py hands
 * guards over in; it tries all kinds before it believes them.
 */

enum { OF_SLOTS, OF_DICT, OF_LIST, OF_ARRAY }; /* kinds of guard */

typedef struct {
    int kind;
    object *owner;
    ptrdiff_t offset;  /* OF_SLOTS: of the first pointer. OF_DICT: number of items, -1 if others may come */
    ptrdiff_t count;
    object **expected; /* NULL where a name was absent */
    object **key;      /* OF_DICT */
    ptrdiff_t *place;  /* OF_DICT: where each key was found last */
    uint64_t version;  /* OF_DICT: of the last time it held, 0 if that tells nothing */
    const array *copy; /* OF_ARRAY */
} guard;

typedef struct {
    ptrdiff_t refcount;
    uint8_t log2_size;
    uint8_t log2_index_bytes;
    uint8_t kind; /* 0: keys of any type, with their hashes */
    uint32_t version;
    ptrdiff_t usable;
    ptrdiff_t entries;
    char indices[];
} dict_keys;

typedef struct {
    object head;
    ptrdiff_t used;
    uint64_t version;
    dict_keys *keys;
    char *values; /* of a table whose keys belong to a class, else NULL */
} dict;

typedef struct {
    object head;
    ptrdiff_t size;
    object **item;
} list;

static int versions_tell;          /* whether a dict has another version after each change */
static ptrdiff_t values_header;    /* bytes before the values of a table with shared keys */

static object **entry_of(const dict *d, ptrdiff_t k)
{
    char *const first = d->keys->indices + ((size_t)1 << d->keys->log2_index_bytes);
    return (object **)(void *)(first + ((d->keys->kind == 0) ? 24 * k + 8 : 16 * k));
}

/* What `d` has under the key of entry k. */
static object *value_of(const dict *d, ptrdiff_t k)
{
    if (d->values != NULL) {
        return ((object **)(void *)(d->values + values_header))[k];
    }
    return entry_of(d, k)[1];
}

/* The entry of a key that is this very object, or -1. */
static ptrdiff_t place_of(const dict *d, const object *key)
{
    ptrdiff_t k;
    for (k = 0; k < d->keys->entries; k++) {
        if (entry_of(d, k)[0] == key && value_of(d, k) != NULL) {
            return k;
        }
    }
    return -1;
}

static int dict_holds(guard *g)
{
    const dict *const d = (const dict *)g->owner;
    ptrdiff_t before = -1;
    ptrdiff_t k;
    if (g->offset >= 0 && d->used != g->offset) {
        return 0;
    }
    for (k = 0; k < g->count; k++) {
        ptrdiff_t at = g->place[k];
        if (g->expected[k] == NULL) { /* no code of the user runs to look up a string among strings */
            if (d->keys->kind == 0 || PyDict_GetItemWithError(g->owner, g->key[k]) != NULL) {
                return 0;
            }
            continue;
        }
        if (at < 0 || at >= d->keys->entries || entry_of(d, at)[0] != g->key[k]) {
            at = place_of(d, g->key[k]);
            if (at < 0) {
                return 0;
            }
            g->place[k] = at;
        }
        if (value_of(d, at) != g->expected[k] || (g->offset >= 0 && d->values == NULL && at <= before)) {
            return 0;
        }
        before = at;
    }
    g->version = d->version;
    return 1;
}

static int array_holds(const guard *g)
{
    const array *const a = (const array *)g->owner;
    const array *const b = g->copy;
    int k;
    if (a->dtype != b->dtype || a->ndim != b->ndim || (a->flags & CONTIGUOUS) == 0) {
        return 0;
    }
    for (k = 0; k < a->ndim; k++) {
        if (a->shape[k] != b->shape[k]) {
            return 0;
        }
    }
    return memcmp(a->data, b->data, (size_t)g->count) == 0;
}

static inline int holds(guard *g)
{
    object *const *found;
    ptrdiff_t k;
    if (g->kind == OF_DICT) {
        return (versions_tell && ((const dict *)g->owner)->version == g->version) || dict_holds(g);
    }
    if (g->kind == OF_ARRAY) {
        return array_holds(g);
    }
    if (g->kind == OF_SLOTS) {
        found = (object *const *)(const void *)((const char *)g->owner + g->offset);
    } else {
        if (((const list *)g->owner)->size != g->count) {
            return 0;
        }
        found = ((const list *)g->owner)->item;
    }
    for (k = 0; k < g->count; k++) {
        if (found[k] != g->expected[k]) {
            return 0;
        }
    }
    return 1;
}

/* ---- guards from Python ---------------------------------------------------------------------- */

typedef struct {
    guard *row;
    ptrdiff_t count;
    void *memory; /* of the tables that rows point into */
} guards;

static void free_guards(guards *g)
{
    free(g->row);
    free(g->memory);
    g->row = NULL;
    g->memory = NULL;
    g->count = 0;
}

/* The number of pointers that one row needs, -1 if it is none that rows.py makes. */
static ptrdiff_t room_of(object *given)
{
    long long number;
    object *addresses;
    if (!is_tuple(given, 3, 5) || !integer(given, 0, OF_ARRAY, &number)) {
        return -1;
    }
    if (number == OF_ARRAY) {
        return (PyTuple_Size(given) == 4 && PyTuple_GetItem(given, 3)->type == array_type) ? 0 : -1;
    }
    addresses = PyTuple_GetItem(given, PyTuple_Size(given) - 1);
    if (!is_tuple(addresses, 0, PTRDIFF_MAX) || PyTuple_Size(given) != (number == OF_SLOTS ? 4 : number == OF_DICT ? 5 : 3)
        || (number == OF_DICT && !is_tuple(PyTuple_GetItem(given, 3), PyTuple_Size(addresses), PyTuple_Size(addresses)))) {
        return -1;
    }
    return PyTuple_Size(addresses) * ((number == OF_DICT) ? 3 : 1);
}

static void read_guard(object *given, guard *g, object **room)
{
    object *const addresses = PyTuple_GetItem(given, PyTuple_Size(given) - 1);
    ptrdiff_t k;
    g->kind = (int)PyLong_AsLongLong(PyTuple_GetItem(given, 0));
    g->owner = PyTuple_GetItem(given, 1);
    g->offset = 0;
    g->version = 0;
    if (g->kind == OF_ARRAY) {
        const array *const a = (const array *)addresses;
        g->copy = a;
        g->count = (ptrdiff_t)PyLong_AsLongLong(PyTuple_GetItem(given, 2));
        return;
    }
    if (g->kind != OF_LIST) {
        g->offset = (ptrdiff_t)PyLong_AsLongLong(PyTuple_GetItem(given, 2));
    }
    g->count = PyTuple_Size(addresses);
    g->expected = room;
    for (k = 0; k < g->count; k++) {
        g->expected[k] = PyLong_AsVoidPtr(PyTuple_GetItem(addresses, k));
    }
    if (g->kind == OF_DICT) {
        g->key = room + g->count;
        g->place = (ptrdiff_t *)(void *)(room + 2 * g->count);
        for (k = 0; k < g->count; k++) {
            g->key[k] = PyTuple_GetItem(PyTuple_GetItem(given, 3), k);
            g->place[k] = -1;
        }
    }
}

/* Rows of guards; 0 if `given` has another form or there is no memory. */
static int read_guards(object *given, guards *to)
{
    ptrdiff_t room = 0;
    ptrdiff_t k;
    object **free_room;
    if (!is_tuple(given, 0, PTRDIFF_MAX)) {
        return 0;
    }
    to->count = PyTuple_Size(given);
    for (k = 0; k < to->count; k++) {
        const ptrdiff_t needed = room_of(PyTuple_GetItem(given, k));
        if (needed < 0) {
            return 0;
        }
        room += needed;
    }
    to->row = calloc((size_t)to->count + 1, sizeof(guard));
    to->memory = calloc((size_t)room + 1, sizeof(object *));
    if (to->row == NULL || to->memory == NULL) {
        free_guards(to);
        return 0;
    }
    free_room = to->memory;
    for (k = 0; k < to->count; k++) {
        object *const row = PyTuple_GetItem(given, k);
        read_guard(row, &to->row[k], free_room);
        free_room += room_of(row);
    }
    if (PyErr_Occurred() != NULL) {
        free_guards(to);
        return 0;
    }
    return 1;
}
