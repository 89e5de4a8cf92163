/* The call path of compiled functions from Python: check every array, allocate, call, wrap.
 *
 * Compiled once per machine, like any function of symgrad. It declares what it uses of Python's
 * stable ABI and of NumPy's array ABI by itself, so that neither Python.h nor NumPy's headers have
 * to be installed; symgrad/runtime/dispatch.py verifies these layouts before it trusts them.
 *
 * The fast path takes what it knows to be exactly right. Everything else (another structure, a
 * dtype to be refused, strides to be copied, an error to be explained) goes to the method _slow in
 * Python, which is the only place that decides about such input.
 */
#define _DEFAULT_SOURCE /* posix_memalign, madvise */
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- Python's stable ABI --------------------------------------------------------------------- */

typedef struct object {
    intptr_t refcount;
    struct object *type;
} object;

typedef object *(*vectorcall)(object *, object *const *, size_t, object *);

typedef struct {
    const char *name;
    int type;
    ptrdiff_t offset;
    int flags;
    const char *doc;
} member;

typedef struct {
    const char *name;
    object *(*call)(object *, object *);
    int flags;
    const char *doc;
} method;

typedef struct {
    int slot;
    void *value;
} slot;

typedef struct {
    const char *name;
    int basic_size;
    int item_size;
    unsigned int flags;
    const slot *slots;
} type_spec;

enum {
    SLOT_CALL = 50,
    SLOT_DEALLOC = 52,
    SLOT_METHODS = 64,
    SLOT_NEW = 65,
    SLOT_MEMBERS = 72,
    SLOT_FREE = 74,
    MEMBER_PTRDIFF = 19,
    MEMBER_READONLY = 1,
    METHOD_NO_ARGUMENT = 4,
    METHOD_ONE_ARGUMENT = 8,
    METHOD_STATIC = 32
};
#define HAVE_VECTORCALL (1U << 11)
#define TYPE_FLAGS ((1U << 18) | (1U << 10) | HAVE_VECTORCALL) /* and DEFAULT, BASETYPE */
#define ARGUMENTS_OFFSET ((size_t)1 << (8 * sizeof(size_t) - 1))

extern object PyFloat_Type, PyLong_Type, PyBool_Type, PyTuple_Type, PyList_Type, PyDict_Type;
extern object _Py_NoneStruct, _Py_TrueStruct;
extern void Py_IncRef(object *);
extern void Py_DecRef(object *);
extern object *PyBool_FromLong(long);
extern object *PyFloat_FromDouble(double);
extern double PyFloat_AsDouble(object *);
extern object *PyLong_FromLongLong(long long);
extern object *PyLong_FromVoidPtr(void *);
extern void *PyLong_AsVoidPtr(object *);
extern long long PyLong_AsLongLong(object *);
extern object *PyTuple_New(ptrdiff_t);
extern ptrdiff_t PyTuple_Size(object *);
extern object *PyTuple_GetItem(object *, ptrdiff_t);
extern int PyTuple_SetItem(object *, ptrdiff_t, object *);
extern object *PyList_New(ptrdiff_t);
extern ptrdiff_t PyList_Size(object *);
extern object *PyList_GetItem(object *, ptrdiff_t);
extern int PyList_SetItem(object *, ptrdiff_t, object *);
extern object *PyDict_New(void);
extern ptrdiff_t PyDict_Size(object *);
extern object *PyDict_GetItemWithError(object *, object *);
extern int PyDict_SetItem(object *, object *, object *);
extern int PyContextVar_Get(object *, object *, object **);
extern object *PyErr_Occurred(void);
extern void PyErr_Clear(void);
extern void PyErr_Fetch(object **, object **, object **);
extern void PyErr_Restore(object *, object *, object *);
extern object *PyErr_NoMemory(void);
extern void PyErr_SetString(object *, const char *);
extern object *PyExc_TypeError;
extern object *PyObject_Call(object *, object *, object *);
extern object *PyObject_Vectorcall(object *, object *const *, size_t, object *);
extern object *PyObject_GetAttrString(object *, const char *);
extern int PyUnicode_CompareWithASCIIString(object *, const char *);
extern object *PyCapsule_New(void *, const char *, void (*)(object *));
extern void *PyType_GetSlot(object *, int);
extern object *PyType_GenericNew(object *, object *, object *);
extern unsigned long PyType_GetFlags(object *);
extern object *PyType_FromSpec(const type_spec *);
extern void *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(void *);

/* ---- NumPy's array ABI ----------------------------------------------------------------------- */

typedef struct {
    object head;
    char *data;
    int ndim;
    intptr_t *shape;
    intptr_t *strides;
    object *base;
    object *dtype;
    int flags;
} array;

enum { CONTIGUOUS = 0x1, ALIGNED = 0x100, WRITEABLE = 0x400 };

typedef object *(*new_array)(object *, object *, int, const intptr_t *, const intptr_t *, void *, int,
    object *);

typedef struct { /* NEP 49: an array keeps the handler that its memory came from */
    char name[127];
    uint8_t version;
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *, size_t);
} memory_handler;

typedef object *(*set_handler)(object *);

/* ---- plans ----------------------------------------------------------------------------------- */

enum { MAX_LEAVES = 32, MAX_NDIM = 8, MAX_STEPS = 64, MAX_DEPTH = 8 };
enum { LEAF, TUPLE, LIST, DICT, NONE };                         /* steps of a structure */
enum { FLOAT64, FLOAT32, INT64, INT32, BOOLEAN };               /* kinds of an element */
enum { ACCEPT_PYTHON = 1, ACCEPT_NUMPY = 2, ACCEPT_ARRAY = 4 }; /* what may stand for a scalar */

typedef union {
    double float64;
    float float32;
    int64_t int64;
    int32_t int32;
    unsigned char boolean;
} scalar;

typedef struct {
    object *dtype;
    int kind;
    int accept;
    int ndim;
    intptr_t shape[MAX_NDIM];
    size_t bytes;
} leaf;

typedef struct {
    int kind;
    int arity;
    object *keys;  /* of a dict, in the order of its leaves */
    object *order; /* positions in keys, in the order of insertion */
} step;

typedef struct plan {
    struct plan *next;
    int (*entry)(const void *const *, void *const *, void *);
    int arguments; /* positional ones */
    int inputs;
    int outputs;
    int data;
    int takes_out;
    int releases_gil;
    int in_steps;
    int out_steps;
    step in[MAX_STEPS];
    step out[MAX_STEPS];
    leaf input[MAX_LEAVES];
    leaf output[MAX_LEAVES];
    const void *captured[MAX_LEAVES];
    size_t workspace_bytes;
    void *workspace; /* one spare block; whoever finds none allocates its own */
    object *keep;    /* the library and the captured arrays */
} plan;

typedef struct {
    object head;
    vectorcall call;
    plan *first;
    object *variable; /* holds `idle` while nothing is traced in this context; or NULL */
    object *idle;
} caller;

static object *array_type;
static object *float64_type;
static new_array make_array;
static set_handler use_handler;
static object *default_handler;
static object *recycler; /* `recycling` as an object */

/* ---- memory of large results ----------------------------------------------------------------- */

/* Fresh pages of the kernel can cost more than the computing. The memory of results that were let go
 * is therefore kept for the next ones: blocks of RECYCLED bytes or more, POOL_BYTES of them at most.
 * Nobody waits for the pool: whoever finds it busy does without, as does a process that was forked
 * while another thread was at it. */

enum { POOL_BLOCKS = 64, CACHE_LINE = 64, PAGE = 4096 };
static const size_t RECYCLED = (size_t)1 << 16;
static const size_t POOL_BYTES = (size_t)1 << 26;
static const size_t ASK_FOR_HUGE = (size_t)1 << 22; /* as NumPy does */

static struct {
    char busy;
    int count;
    size_t bytes;
    struct {
        void *start;
        size_t bytes;
    } block[POOL_BLOCKS]; /* in the order in which they were let go */
} pool;

static int enter_pool(void)
{
    return !__atomic_test_and_set(&pool.busy, __ATOMIC_ACQUIRE);
}

static void leave_pool(void)
{
    __atomic_clear(&pool.busy, __ATOMIC_RELEASE);
}

static void *take_block(int k)
{
    void *const start = pool.block[k].start;
    pool.bytes -= pool.block[k].bytes;
    pool.count--;
    memmove(&pool.block[k], &pool.block[k + 1], (size_t)(pool.count - k) * sizeof pool.block[0]);
    return start;
}

/* The last block of about this size, which the caches may still hold. */
static void *recycled(size_t size)
{
    void *found = NULL;
    int k;
    if (enter_pool()) {
        for (k = pool.count - 1; k >= 0 && found == NULL; k--) {
            if (pool.block[k].bytes >= size && pool.block[k].bytes - size <= size / 8) {
                found = take_block(k);
            }
        }
        leave_pool();
    }
    return found;
}

/* Lets the oldest blocks go until there is room for one more of so many bytes. */
static void make_room(size_t bytes)
{
    while (pool.count > 0 && (pool.count == POOL_BLOCKS || pool.bytes + bytes > POOL_BYTES)) {
        free(take_block(0));
    }
}

static void *result_malloc(void *unused, size_t size)
{
    void *made = NULL;
    (void)unused;
    if (size < RECYCLED) {
        return malloc(size);
    }
    made = recycled(size);
    if (made != NULL) {
        return made;
    }
    if (posix_memalign(&made, CACHE_LINE, size) != 0) {
        if (enter_pool()) {
            make_room(POOL_BYTES);
            leave_pool();
        }
        if (posix_memalign(&made, CACHE_LINE, size) != 0) {
            return NULL;
        }
    }
    if (size >= ASK_FOR_HUGE) {
        const size_t before = (PAGE - (uintptr_t)made % PAGE) % PAGE;
        (void)madvise((char *)made + before, size - before, MADV_HUGEPAGE);
    }
    return made;
}

static void *result_calloc(void *unused, size_t count, size_t size)
{
    (void)unused;
    return calloc(count, size);
}

static void *result_realloc(void *unused, void *start, size_t size)
{
    (void)unused;
    return realloc(start, size);
}

/* The size is asked of malloc: a header that was changed in place need not tell the truth. */
static void result_free(void *unused, void *start, size_t unreliable)
{
    const size_t bytes = malloc_usable_size(start);
    (void)unused;
    (void)unreliable;
    if (bytes < RECYCLED || bytes > POOL_BYTES || !enter_pool()) {
        free(start);
        return;
    }
    make_room(bytes);
    pool.block[pool.count].start = start;
    pool.block[pool.count].bytes = bytes;
    pool.count++;
    pool.bytes += bytes;
    leave_pool();
}

static memory_handler recycling
    = {"symgrad", 1, NULL, result_malloc, result_calloc, result_realloc, result_free};

/* A fresh array. Large ones have recycled memory, unless the user chose where arrays come from. */
static object *make_result(object *dtype, int ndim, const intptr_t *shape, size_t bytes)
{
    object *error[3] = {NULL, NULL, NULL};
    object *handler = NULL;
    object *made;
    if (bytes >= RECYCLED) {
        handler = use_handler(recycler);
        if (handler == NULL) {
            return NULL;
        }
        if (handler != default_handler) {
            Py_DecRef(use_handler(handler));
            Py_DecRef(handler);
            handler = NULL;
        }
    }
    Py_IncRef(dtype);
    made = make_array(array_type, dtype, ndim, shape, NULL, NULL, 0, NULL);
    if (handler != NULL) {
        PyErr_Fetch(&error[0], &error[1], &error[2]);
        Py_DecRef(use_handler(handler));
        Py_DecRef(handler);
        PyErr_Restore(error[0], error[1], error[2]);
    }
    return made;
}

/* ---- input ----------------------------------------------------------------------------------- */

typedef struct {
    const void *pointer[2 * MAX_LEAVES];
    object *held[MAX_LEAVES]; /* arrays in use, borrowed from the caller */
    scalar number[MAX_LEAVES];
    void *result[MAX_LEAVES];
} frame;

static int fits(const leaf *t, const object *value, int flags)
{
    const array *const a = (const array *)value;
    int k;
    if (value->type != array_type || a->dtype != t->dtype || a->ndim != t->ndim
        || (a->flags & flags) != flags) {
        return 0;
    }
    for (k = 0; k < t->ndim; k++) {
        if (a->shape[k] != t->shape[k]) {
            return 0;
        }
    }
    return 1;
}

static int take_number(const leaf *t, object *value, scalar *to)
{
    object *const type = value->type;
    if (t->kind == FLOAT64) {
        if ((type == &PyFloat_Type && (t->accept & ACCEPT_PYTHON) != 0)
            || (type == float64_type && (t->accept & ACCEPT_NUMPY) != 0)) {
            to->float64 = PyFloat_AsDouble(value);
            return 1;
        }
    } else if (t->kind == INT64 && type == &PyLong_Type && (t->accept & ACCEPT_PYTHON) != 0) {
        to->int64 = PyLong_AsLongLong(value);
        if (to->int64 != -1 || PyErr_Occurred() == NULL) {
            return 1;
        }
        PyErr_Clear();
    } else if (t->kind == BOOLEAN && type == &PyBool_Type && (t->accept & ACCEPT_PYTHON) != 0) {
        to->boolean = (unsigned char)(value == &_Py_TrueStruct);
        return 1;
    }
    return 0;
}

/* The children of a container that `s` describes into `child`; 0 if `value` is another structure. */
static int open_container(const step *s, object *value, object **child)
{
    int k;
    if (s->kind == NONE) {
        return value == &_Py_NoneStruct;
    }
    if (s->kind == TUPLE) {
        if (value->type != &PyTuple_Type || PyTuple_Size(value) != s->arity) {
            return 0;
        }
        for (k = 0; k < s->arity; k++) {
            child[k] = PyTuple_GetItem(value, k);
        }
        return 1;
    }
    if (s->kind == LIST) {
        if (value->type != &PyList_Type || PyList_Size(value) != s->arity) {
            return 0;
        }
        for (k = 0; k < s->arity; k++) {
            child[k] = PyList_GetItem(value, k);
        }
        return 1;
    }
    if (value->type != &PyDict_Type || PyDict_Size(value) != s->arity) {
        return 0;
    }
    for (k = 0; k < s->arity; k++) {
        child[k] = PyDict_GetItemWithError(value, PyTuple_GetItem(s->keys, k));
        if (child[k] == NULL) {
            PyErr_Clear();
            return 0;
        }
    }
    return 1;
}

/* Leaves of `count` values that `steps` describes, in order; 0 if the structure differs. The stack
 * holds what is still to be visited, so depth costs no C stack. */
static int take_apart(const step *steps, int n_steps, object *const *values, int count, object **leaves)
{
    object *stack[MAX_STEPS + MAX_LEAVES];
    object *child[MAX_STEPS];
    int top = 0;
    int found = 0;
    int at = 0;
    int k;
    for (k = count - 1; k >= 0; k--) {
        stack[top++] = values[k];
    }
    while (top > 0) {
        object *const value = stack[--top];
        const step *const s = &steps[at];
        if (at >= n_steps) {
            return 0;
        }
        at++;
        if (s->kind == LEAF) {
            leaves[found++] = value;
        } else {
            if (!open_container(s, value, child)) {
                return 0;
            }
            for (k = s->arity - 1; k >= 0; k--) {
                stack[top++] = child[k];
            }
        }
    }
    return at == n_steps;
}

static int take_inputs(const plan *p, object *const *args, frame *f)
{
    object *leaves[MAX_LEAVES];
    object *const *given = args;
    int k;
    if (p->in_steps != p->inputs || p->inputs != p->arguments) { /* not just arrays */
        if (!take_apart(p->in, p->in_steps, args, p->arguments, leaves)) {
            return 0;
        }
        given = leaves;
    }
    for (k = 0; k < p->inputs; k++) {
        const leaf *const t = &p->input[k];
        if (fits(t, given[k], CONTIGUOUS | ALIGNED)) {
            if (t->ndim == 0 && (t->accept & ACCEPT_ARRAY) == 0) {
                return 0;
            }
            f->pointer[k] = ((const array *)given[k])->data;
        } else if (t->ndim == 0 && take_number(t, given[k], &f->number[k])) {
            f->pointer[k] = &f->number[k];
        } else {
            return 0;
        }
        f->held[k] = given[k];
    }
    for (k = 0; k < p->data; k++) {
        f->pointer[p->inputs + k] = p->captured[k];
    }
    return 1;
}

/* ---- output ---------------------------------------------------------------------------------- */

static int apart(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    return (uintptr_t)a + a_bytes <= (uintptr_t)b || (uintptr_t)b + b_bytes <= (uintptr_t)a;
}

/* Result arrays that the caller hands in: exactly right and apart from everything, or 0. */
static int take_outputs(const plan *p, object *out, object **leaves, frame *f)
{
    int j;
    int k;
    if (!p->takes_out || !take_apart(p->out, p->out_steps, &out, 1, leaves)) {
        return 0;
    }
    for (k = 0; k < p->outputs; k++) {
        const leaf *const t = &p->output[k];
        char *data;
        if (!fits(t, leaves[k], CONTIGUOUS | ALIGNED | WRITEABLE)) {
            return 0;
        }
        data = ((array *)leaves[k])->data;
        for (j = 0; j < p->inputs; j++) {
            if (!apart(data, t->bytes, f->pointer[j], p->input[j].bytes)) {
                return 0;
            }
        }
        for (j = 0; j < k; j++) {
            if (!apart(data, t->bytes, f->result[j], p->output[j].bytes)) {
                return 0;
            }
        }
        f->result[k] = data;
    }
    return 1;
}

static object *to_number(int kind, const scalar *value)
{
    switch (kind) {
    case FLOAT64:
        return PyFloat_FromDouble(value->float64);
    case FLOAT32:
        return PyFloat_FromDouble((double)value->float32);
    case INT64:
        return PyLong_FromLongLong(value->int64);
    case INT32:
        return PyLong_FromLongLong(value->int32);
    default:
        return PyBool_FromLong(value->boolean);
    }
}

/* One container of `children`, whose references it takes over, also when it fails. */
static object *put_together(const step *s, object **children)
{
    object *made = NULL;
    int failed = 0;
    int k;
    if (s->kind == NONE) {
        Py_IncRef(&_Py_NoneStruct);
        return &_Py_NoneStruct;
    }
    if (s->kind == TUPLE || s->kind == LIST) {
        made = (s->kind == TUPLE) ? PyTuple_New(s->arity) : PyList_New(s->arity);
        for (k = 0; k < s->arity; k++) {
            if (made == NULL) {
                Py_DecRef(children[k]);
            } else if (s->kind == TUPLE) {
                (void)PyTuple_SetItem(made, k, children[k]);
            } else {
                (void)PyList_SetItem(made, k, children[k]);
            }
        }
        return made;
    }
    made = PyDict_New();
    for (k = 0; k < s->arity && made != NULL; k++) {
        const long long at = PyLong_AsLongLong(PyTuple_GetItem(s->order, k));
        failed |= PyDict_SetItem(made, PyTuple_GetItem(s->keys, (ptrdiff_t)at), children[at]) < 0;
    }
    for (k = 0; k < s->arity; k++) {
        Py_DecRef(children[k]);
    }
    if (failed && made != NULL) {
        Py_DecRef(made);
        made = NULL;
    }
    return made;
}

/* The result's structure around `leaves`, whose references it takes over. */
static object *assemble(const plan *p, object **leaves)
{
    object *stack[MAX_STEPS];
    object *children[MAX_STEPS];
    int top = 0;
    int left = p->outputs;
    int at;
    int k;
    for (at = p->out_steps - 1; at >= 0; at--) { /* backwards through the preorder */
        const step *const s = &p->out[at];
        object *made;
        if (s->kind == LEAF) {
            made = leaves[--left];
        } else {
            for (k = 0; k < s->arity; k++) {
                children[k] = stack[--top];
            }
            made = put_together(s, children);
        }
        if (made == NULL) {
            while (left > 0) {
                Py_DecRef(leaves[--left]);
            }
            while (top > 0) {
                Py_DecRef(stack[--top]);
            }
            return NULL;
        }
        stack[top++] = made;
    }
    return stack[0];
}

/* ---- the call -------------------------------------------------------------------------------- */

static int run(plan *p, const frame *f)
{
    void *workspace = p->workspace;
    void *aligned = NULL;
    int status;
    int k;
    if (p->workspace_bytes > 0) {
        p->workspace = NULL; /* ours until the call is over */
        if (workspace == NULL) {
            workspace = malloc(p->workspace_bytes + 64);
            if (workspace == NULL) {
                return -1;
            }
        }
        aligned = (char *)workspace + (64 - (uintptr_t)workspace % 64) % 64;
    }
    if (p->releases_gil) {
        /* Another thread may take an array out of a list or dict of ours meanwhile. */
        void *state;
        for (k = 0; k < p->inputs; k++) {
            Py_IncRef(f->held[k]);
        }
        state = PyEval_SaveThread();
        status = p->entry(f->pointer, f->result, aligned);
        PyEval_RestoreThread(state);
        for (k = 0; k < p->inputs; k++) {
            Py_DecRef(f->held[k]);
        }
    } else {
        status = p->entry(f->pointer, f->result, aligned);
    }
    if (workspace != NULL) {
        if (p->workspace == NULL) {
            p->workspace = workspace;
        } else {
            free(workspace);
        }
    }
    return status;
}

/* 1: `result` holds the result. 0: not for this plan, or the function reported a status, which the
 * slow path meets again and explains. -1: an exception is set. */
static int attempt(plan *p, object *const *args, ptrdiff_t count, object *out, object **result)
{
    frame f;
    object *made[MAX_LEAVES];
    scalar numbers[MAX_LEAVES];
    int status;
    int k;
    if (count != p->arguments || !take_inputs(p, args, &f)) {
        return 0;
    }
    if (out != NULL) {
        if (!take_outputs(p, out, made, &f)) {
            return 0;
        }
        for (k = 0; k < p->outputs; k++) {
            Py_IncRef(made[k]); /* a list of results may change while another thread runs */
        }
        status = run(p, &f);
        for (k = 0; k < p->outputs; k++) {
            Py_DecRef(made[k]);
        }
        if (status != 0) {
            return (status > 0) ? 0 : (PyErr_NoMemory(), -1);
        }
        Py_IncRef(out);
        *result = out;
        return 1;
    }
    for (k = 0; k < p->outputs; k++) {
        const leaf *const t = &p->output[k];
        made[k] = NULL;
        f.result[k] = &numbers[k];
        if (t->ndim > 0) {
            made[k] = make_result(t->dtype, t->ndim, t->shape, t->bytes);
            if (made[k] == NULL) {
                while (k > 0) {
                    k--;
                    if (made[k] != NULL) {
                        Py_DecRef(made[k]);
                    }
                }
                return -1;
            }
            f.result[k] = ((array *)made[k])->data;
        }
    }
    status = run(p, &f);
    for (k = 0; k < p->outputs; k++) {
        if (p->output[k].ndim == 0 && status == 0) {
            made[k] = to_number(p->output[k].kind, &numbers[k]);
            status = (made[k] == NULL) ? -2 : 0;
        }
    }
    if (status != 0) {
        for (k = 0; k < p->outputs; k++) {
            if (made[k] != NULL) {
                Py_DecRef(made[k]);
            }
        }
        if (status == -1) {
            (void)PyErr_NoMemory();
        }
        return (status > 0) ? 0 : -1;
    }
    *result = assemble(p, made);
    return (*result == NULL) ? -1 : 1;
}

static int is_idle(const caller *self)
{
    object *value = NULL;
    if (self->variable == NULL) {
        return 1;
    }
    if (PyContextVar_Get(self->variable, NULL, &value) < 0 || value == NULL) {
        PyErr_Clear();
        return 0;
    }
    Py_DecRef(value); /* still held by the context */
    return value == self->idle;
}

/* As `attempt`, by the first plan that fits. `out` is NULL where the caller did not name it; for a
 * plan that takes no results it is an argument of the user's function, which only _slow knows. */
static int by_plans(const caller *self, object *const *args, ptrdiff_t count, object *out, object **result)
{
    plan *p = self->first;
    int done = 0;
    if (p == NULL || !is_idle(self)) {
        return 0;
    }
    while (p != NULL && done == 0) {
        if (out == NULL || p->takes_out) {
            done = attempt(p, args, count, (out == &_Py_NoneStruct) ? NULL : out, result);
        }
        p = p->next;
    }
    return done;
}

static object *call_vector(object *me, object *const *args, size_t count_and_flag, object *names)
{
    const ptrdiff_t count = (ptrdiff_t)(count_and_flag & ~ARGUMENTS_OFFSET);
    const ptrdiff_t named = (names == NULL) ? 0 : PyTuple_Size(names);
    object *result = NULL;
    object *slow;
    int done = 0;
    if (named == 0) {
        done = by_plans((caller *)me, args, count, NULL, &result);
    } else if (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "out") == 0) {
        done = by_plans((caller *)me, args, count, args[count], &result);
    }
    if (done != 0) {
        return (done > 0) ? result : NULL;
    }
    slow = PyObject_GetAttrString(me, "_slow");
    if (slow == NULL) {
        return NULL;
    }
    result = PyObject_Vectorcall(slow, args, (size_t)count, names);
    Py_DecRef(slow);
    return result;
}

static object *out_name;

/* The same where Python calls by tuple and dict. */
static object *call_tuple(object *me, object *args, object *keywords)
{
    object *positional[MAX_STEPS];
    const ptrdiff_t count = PyTuple_Size(args);
    const ptrdiff_t named = (keywords == NULL) ? 0 : PyDict_Size(keywords);
    object *result = NULL;
    object *slow;
    object *out = NULL;
    int done = 0;
    ptrdiff_t k;
    if (named == 1) {
        out = PyDict_GetItemWithError(keywords, out_name);
        if (out == NULL && PyErr_Occurred() != NULL) { /* a subclass of str compares as it likes */
            return NULL;
        }
    }
    if (count <= MAX_STEPS && (named == 0 || out != NULL)) {
        for (k = 0; k < count; k++) {
            positional[k] = PyTuple_GetItem(args, k);
        }
        done = by_plans((caller *)me, positional, count, out, &result);
    }
    if (done != 0) {
        return (done > 0) ? result : NULL;
    }
    slow = PyObject_GetAttrString(me, "_slow");
    if (slow == NULL) {
        return NULL;
    }
    result = PyObject_Call(slow, args, keywords);
    Py_DecRef(slow);
    return result;
}

/* ---- plans from Python ----------------------------------------------------------------------- */

static object *refused(void)
{
    PyErr_SetString(PyExc_TypeError, "not what symgrad/runtime/dispatch.py passes");
    return NULL;
}

/* Whether `value` is a tuple of `least` to `most` elements. */
static int is_tuple(object *value, ptrdiff_t least, ptrdiff_t most)
{
    return value->type == &PyTuple_Type && PyTuple_Size(value) >= least && PyTuple_Size(value) <= most;
}

/* Whether tuple[at] is an int from 0 to `most`. */
static int integer(object *tuple, ptrdiff_t at, long long most, long long *to)
{
    object *const value = PyTuple_GetItem(tuple, at);
    if (value->type != &PyLong_Type) {
        return 0;
    }
    *to = PyLong_AsLongLong(value);
    if (PyErr_Occurred() != NULL) {
        PyErr_Clear();
        return 0;
    }
    return *to >= 0 && *to <= most;
}

/* (kind, arity, keys, order) for each container and (LEAF, 0, ...) for each leaf, in preorder, of `open`
 * values with `leaves` leaves. Returns the number of steps, or -1 if `given` is anything else. */
static int read_steps(object *given, long long open, int leaves, step *steps)
{
    long long number[2];
    long long at;
    int n;
    int k;
    int j;
    if (!is_tuple(given, 0, MAX_STEPS)) {
        return -1;
    }
    n = (int)PyTuple_Size(given);
    for (k = 0; k < n; k++) {
        object *const row = PyTuple_GetItem(given, k);
        if (!is_tuple(row, 4, 4) || !integer(row, 0, NONE, &number[0])
            || !integer(row, 1, MAX_STEPS, &number[1])) {
            return -1;
        }
        steps[k].kind = (int)number[0];
        steps[k].arity = (int)number[1];
        steps[k].keys = PyTuple_GetItem(row, 2);
        steps[k].order = PyTuple_GetItem(row, 3);
        if ((steps[k].kind == LEAF || steps[k].kind == NONE) && steps[k].arity != 0) {
            return -1;
        }
        if (steps[k].kind == DICT) {
            if (!is_tuple(steps[k].keys, number[1], number[1]) || !is_tuple(steps[k].order, number[1], number[1])) {
                return -1;
            }
            for (j = 0; j < steps[k].arity; j++) {
                if (!integer(steps[k].order, j, number[1] - 1, &at)) {
                    return -1;
                }
            }
        }
        if (open < 1) {
            return -1;
        }
        open += number[1] - 1;
        leaves -= (steps[k].kind == LEAF);
    }
    return (open == 0 && leaves == 0) ? n : -1;
}

/* (dtype, kind, accept, bytes, shape) for each leaf; their number, or -1. */
static int read_leaves(object *given, leaf *leaves)
{
    long long number[3];
    long long size;
    int n;
    int j;
    int k;
    if (!is_tuple(given, 0, MAX_LEAVES)) {
        return -1;
    }
    n = (int)PyTuple_Size(given);
    for (k = 0; k < n; k++) {
        object *const row = PyTuple_GetItem(given, k);
        object *shape;
        if (!is_tuple(row, 5, 5) || !integer(row, 1, BOOLEAN, &number[0]) || !integer(row, 2, 7, &number[1])
            || !integer(row, 3, INT64_MAX, &number[2]) || !is_tuple(PyTuple_GetItem(row, 4), 0, MAX_NDIM)) {
            return -1;
        }
        shape = PyTuple_GetItem(row, 4);
        leaves[k].dtype = PyTuple_GetItem(row, 0);
        leaves[k].kind = (int)number[0];
        leaves[k].accept = (int)number[1];
        leaves[k].bytes = (size_t)number[2];
        leaves[k].ndim = (int)PyTuple_Size(shape);
        for (j = 0; j < leaves[k].ndim; j++) {
            if (!integer(shape, j, INT64_MAX, &size)) {
                return -1;
            }
            leaves[k].shape[j] = (intptr_t)size;
        }
    }
    return n;
}

/* Everything of a plan but `keep`; 0 if `given` has another form. */
static int read_plan(object *given, plan *p)
{
    long long number[4];
    object *captured;
    void *address;
    int k;
    if (!is_tuple(given, 11, 11) || PyTuple_GetItem(given, 0)->type != &PyLong_Type
        || !integer(given, 6, MAX_LEAVES + MAX_STEPS, &number[0]) || !integer(given, 7, INT64_MAX - 64, &number[1])
        || !integer(given, 8, 1, &number[2]) || !integer(given, 9, 1, &number[3])) {
        return 0;
    }
    address = PyLong_AsVoidPtr(PyTuple_GetItem(given, 0));
    memcpy(&p->entry, &address, sizeof address);
    p->inputs = read_leaves(PyTuple_GetItem(given, 3), p->input);
    p->outputs = read_leaves(PyTuple_GetItem(given, 4), p->output);
    p->arguments = (int)number[0];
    p->in_steps = read_steps(PyTuple_GetItem(given, 1), number[0], p->inputs, p->in);
    p->out_steps = read_steps(PyTuple_GetItem(given, 2), 1, p->outputs, p->out);
    captured = PyTuple_GetItem(given, 5);
    if (p->inputs < 0 || p->outputs < 0 || p->in_steps < 0 || p->out_steps < 0
        || !is_tuple(captured, 0, MAX_LEAVES)) {
        return 0;
    }
    p->data = (int)PyTuple_Size(captured);
    for (k = 0; k < p->data; k++) {
        if (PyTuple_GetItem(captured, k)->type != &PyLong_Type) {
            return 0;
        }
        p->captured[k] = PyLong_AsVoidPtr(PyTuple_GetItem(captured, k));
    }
    p->workspace_bytes = (size_t)number[1];
    p->takes_out = (int)number[2];
    p->releases_gil = (int)number[3];
    return address != NULL && PyErr_Occurred() == NULL;
}

/* given = (entry, in steps, out steps, inputs, outputs, captured addresses, arguments, workspace
 * bytes, takes out, releases the GIL, keep). The form is checked, so that a slip in Python is an
 * exception; addresses and sizes cannot be. What the plan points to lives in `given`, which it keeps. */
static object *add_plan(object *me, object *given)
{
    caller *const self = (caller *)me;
    plan **last = &self->first;
    plan *const p = calloc(1, sizeof(plan));
    if (p == NULL) {
        return PyErr_NoMemory();
    }
    if (!read_plan(given, p)) {
        free(p);
        return (PyErr_Occurred() != NULL) ? NULL : refused();
    }
    Py_IncRef(given);
    p->keep = given;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = p;
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

/* given = (context variable, its value while nothing is traced): calls during a trace are slow. */
static object *watch(object *me, object *given)
{
    caller *const self = (caller *)me;
    object *const before[2] = {self->variable, self->idle};
    if (!is_tuple(given, 2, 2)) {
        return refused();
    }
    self->variable = PyTuple_GetItem(given, 0);
    self->idle = PyTuple_GetItem(given, 1);
    Py_IncRef(self->variable);
    Py_IncRef(self->idle);
    if (before[0] != NULL) {
        Py_DecRef(before[0]);
        Py_DecRef(before[1]);
    }
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

/* Before Python 3.12 a class made in Python does not inherit the flag of the vectorcall protocol,
 * although it inherits the protocol itself. The two members of a type object are where they have been
 * since 3.8; they are compared with what Python says before the flag is set. */
static object *inherit_vectorcall(object *me, object *unused)
{
    enum { VECTORCALL_OFFSET = 56, FLAGS = 168 };
    char *const type = (char *)me->type;
    object *(*const tuple_call)(object *, object *, object *) = call_tuple;
    void *const slot_value = PyType_GetSlot(me->type, SLOT_CALL);
    unsigned long flags;
    ptrdiff_t offset;
    (void)unused;
    memcpy(&flags, type + FLAGS, sizeof flags);
    memcpy(&offset, type + VECTORCALL_OFFSET, sizeof offset);
    if (flags == PyType_GetFlags(me->type) && offset == (ptrdiff_t)offsetof(caller, call)
        && memcmp(&tuple_call, &slot_value, sizeof slot_value) == 0) { /* no __call__ of its own */
        flags |= HAVE_VECTORCALL;
        memcpy(type + FLAGS, &flags, sizeof flags);
    }
    Py_IncRef(&_Py_NoneStruct);
    return &_Py_NoneStruct;
}

static object *make_caller(object *type, object *args, object *keywords)
{
    object *const made = PyType_GenericNew(type, args, keywords);
    if (made != NULL) {
        ((caller *)made)->call = call_vector;
    }
    return made;
}

static void destroy_caller(object *me)
{
    caller *const self = (caller *)me;
    object *const type = me->type;
    void *const slot_value = PyType_GetSlot(type, SLOT_FREE);
    void (*release)(void *) = NULL;
    while (self->first != NULL) {
        plan *const p = self->first;
        self->first = p->next;
        Py_DecRef(p->keep);
        free(p->workspace);
        free(p);
    }
    if (self->variable != NULL) {
        Py_DecRef(self->variable);
        Py_DecRef(self->idle);
    }
    memcpy(&release, &slot_value, sizeof release);
    release(me);
    Py_DecRef(type);
}

/* given = ((dtype, kind, accept, bytes, shape),): a fresh array, made as results are. */
static object *empty(object *unused, object *given)
{
    leaf t;
    (void)unused;
    if (!is_tuple(given, 1, 1) || read_leaves(given, &t) != 1) {
        return (PyErr_Occurred() != NULL) ? NULL : refused();
    }
    return make_result(t.dtype, t.ndim, t.shape, t.bytes);
}

/* How many bytes wait for the next results. */
static object *pooled(object *unused, object *nothing)
{
    (void)unused;
    (void)nothing;
    return PyLong_FromLongLong((long long)pool.bytes);
}

/* Data, ndim, flags, first size and dtype of an array as this file sees them, for verification. */
static object *probe(object *unused, object *given)
{
    const array *const a = (const array *)given;
    object *seen;
    (void)unused;
    if (given->type != array_type) {
        return refused();
    }
    seen = PyTuple_New(5);
    if (seen != NULL) {
        (void)PyTuple_SetItem(seen, 0, PyLong_FromVoidPtr(a->data));
        (void)PyTuple_SetItem(seen, 1, PyLong_FromLongLong(a->ndim));
        (void)PyTuple_SetItem(seen, 2, PyLong_FromLongLong(a->flags & (CONTIGUOUS | ALIGNED | WRITEABLE)));
        (void)PyTuple_SetItem(seen, 3, PyLong_FromLongLong((a->ndim > 0) ? a->shape[0] : 0));
        (void)PyTuple_SetItem(seen, 4, PyLong_FromVoidPtr(a->dtype));
    }
    return seen;
}

__attribute__((visibility("default"))) object *symgrad_dispatch(object *config);

/* The type Caller; config = (NumPy's table of functions, ndarray, float64, "out"). */
object *symgrad_dispatch(object *config)
{
    static const member members[] = {
        {"__vectorcalloffset__", MEMBER_PTRDIFF, offsetof(caller, call), MEMBER_READONLY, NULL},
        {NULL, 0, 0, 0, NULL},
    };
    static const method methods[] = {
        {"_add_plan", add_plan, METHOD_ONE_ARGUMENT, NULL},
        {"_watch", watch, METHOD_ONE_ARGUMENT, NULL},
        {"_probe", probe, METHOD_ONE_ARGUMENT, NULL},
        {"_empty", empty, METHOD_ONE_ARGUMENT | METHOD_STATIC, NULL},
        {"_pooled", pooled, METHOD_NO_ARGUMENT | METHOD_STATIC, NULL},
        {"_inherit_vectorcall", inherit_vectorcall, METHOD_NO_ARGUMENT, NULL},
        {NULL, NULL, 0, NULL},
    };
    static slot slots[6];
    static const type_spec spec = {"symgrad.Caller", sizeof(caller), 0, TYPE_FLAGS, slots};
    object *(*const tuple_call)(object *, object *, object *) = call_tuple;
    object *(*const constructor)(object *, object *, object *) = make_caller;
    void (*const destructor)(object *) = destroy_caller;
    void *const *const table = PyLong_AsVoidPtr(PyTuple_GetItem(config, 0));
    array_type = PyTuple_GetItem(config, 1);
    float64_type = PyTuple_GetItem(config, 2);
    out_name = PyTuple_GetItem(config, 3);
    Py_IncRef(config); /* for the life of the process, as the library itself */
    memcpy(&make_array, &table[94], sizeof make_array);
    memcpy(&use_handler, &table[304], sizeof use_handler);
    default_handler = *(object **)table[306];
    recycler = PyCapsule_New(&recycling, "mem_handler", NULL);
    if (recycler == NULL) {
        return NULL;
    }
    slots[0].slot = SLOT_CALL;
    memcpy(&slots[0].value, &tuple_call, sizeof tuple_call);
    slots[1].slot = SLOT_DEALLOC;
    memcpy(&slots[1].value, &destructor, sizeof destructor);
    slots[2].slot = SLOT_NEW;
    memcpy(&slots[2].value, &constructor, sizeof constructor);
    slots[3].slot = SLOT_METHODS;
    slots[3].value = (void *)(uintptr_t)methods;
    slots[4].slot = SLOT_MEMBERS;
    slots[4].value = (void *)(uintptr_t)members;
    return PyType_FromSpec(&spec);
}
