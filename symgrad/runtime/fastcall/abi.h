/* What the call path uses of Python's stable ABI and of NumPy's array ABI, declared here so that
 * neither Python.h nor NumPy's headers have to be installed. symgrad/runtime/dispatch.py verifies
 * these layouts before it trusts them; it joins the files of this folder to one.
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

typedef int (*visitor)(object *, void *);

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
    SLOT_CLEAR = 51,
    SLOT_DEALLOC = 52,
    SLOT_METHODS = 64,
    SLOT_NEW = 65,
    SLOT_TRAVERSE = 71,
    SLOT_MEMBERS = 72,
    SLOT_FREE = 74,
    MEMBER_PTRDIFF = 19,
    MEMBER_READONLY = 1,
    METHOD_NO_ARGUMENT = 4,
    METHOD_ONE_ARGUMENT = 8,
    METHOD_STATIC = 32
};
#define HAVE_VECTORCALL (1U << 11)
#define HAVE_GC (1U << 14)
#define TYPE_FLAGS ((1U << 18) | (1U << 10) | HAVE_GC | HAVE_VECTORCALL) /* and DEFAULT, BASETYPE */
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
extern void PyObject_GC_UnTrack(void *);
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

/* What symgrad_dispatch is given, and finds in NumPy's table of functions. */
static object *array_type;
static object *float64_type;
static new_array make_array;
static set_handler use_handler;
static object *default_handler;
