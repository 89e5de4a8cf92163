"""Names and text on their way into generated C: the only gate.

In: names that the user chose (functions, arguments, keys) and free text for comments. Out:
identifiers and comment text that cannot change what the C means, and file paths that stay in their
directory. This module must not know what is generated; it knows C's reserved names and the patterns
that symgrad keeps for itself:

    t12 temporaries   s3 accumulators   i0, j0, k0 loops   a0 arrays   c0 constants   sg_… helpers

Single letters are free, so that ``i``, ``n`` or ``x`` of the user's keep their name; loops always
carry a number. What may pass is one allow-list of shapes less the reserved words, never a list of
bad characters; the rest is refused (`c_identifier`) or replaced (`mangle`).
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from symgrad.errors import ExportError, UnsafeNameError

MAX_LENGTH = 31  # C99 5.2.4.1: significant characters of an external identifier

_SHAPE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_GENERATED = re.compile(r"[tsijklac][0-9]+|(?i:sg_|symgrad).*")
_ALLOWED = (
    "Allowed: 1 to 31 ASCII letters, digits and underscores, a letter first, no '__'; no keyword "
    "of C or C++, no name of the C library, nothing that starts with 'sg_' or 'symgrad', and no "
    "t0, s0, i0, j0, k0, a0, c0 (letter and number), which generated code uses."
)

# fmt: off
# C89 to C23, C++98 to C++26 (with its alternative spellings), and words that compilers add.
_KEYWORDS = frozenset("""
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl complex concept const const_cast consteval
    constexpr constinit continue contract_assert decltype default delete do double dynamic_cast else
    enum explicit export extern false final float for fortran friend goto if imaginary import inline
    int long module mutable namespace new noexcept noreturn not not_eq nullptr operator or or_eq
    override private protected public register reinterpret_cast requires restrict return short
    signed sizeof static static_assert static_cast struct switch template this thread_local throw
    true try typedef typeid typename typeof typeof_unqual union unsigned using virtual void volatile
    wchar_t while xor xor_eq cdecl far fastcall huge interrupt near pascal stdcall
""".split())

# Predefined or common macros and entry points that no prefix below covers.
_MACROS = frozenset("""
    BIG_ENDIAN BUFSIZ BYTE_ORDER CMPLX CMPLXF CMPLXL DECIMAL_DIG DllMain EDOM EILSEQ EOF ERANGE
    FILENAME_MAX I INFINITY INF LITTLE_ENDIAN MAXFLOAT NAN NDEBUG NFDBITS NULL NZERO PDP_ENDIAN
    PIPE_BUF WEOF WinMain abs i386 linux main major makedev max min minor near sun unix vax wWinMain
    wmain assert environ errno noreturn offsetof optarg opterr optind optopt stderr stdin stdout
    va_arg va_copy va_end va_list va_start
""".split())

_MACRO_FAMILIES = re.compile(r"""(?x)
    (M|DBL|FLT[0-9]*X?|LDBL|DEC[0-9]*X?|FP|FPE|FE|LC|SEEK|SIG|SA|SI|SS|EXIT|MATH|CLOCK|CLOCKS|FD|NL
      |WC|MAX|PTHREAD|ATOMIC|HUGE_VAL)_\w*
  | [A-Z_]+[0-9]*_(MAX|MIN|WIDTH|BIT|C)
  | HUGE_VAL[FL]? | HUGE | (PRI|SCN)[dioux](8|16|32|64|MAX|PTR|(LEAST|FAST)[0-9]+)
  | SNAN(F[0-9]*X?|L)? | SIG(ABRT|FPE|ILL|INT|SEGV|TERM)
  | W(CONTINUED|EXITED|NOHANG|NOWAIT|STOPPED|UNTRACED|EXITSTATUS|STOPSIG|TERMSIG)
  | WIF(CONTINUED|EXITED|SIGNALED|STOPPED)
""")

_TYPES = re.compile(r"""(?x)
    u?_?int(_fast|_least)?[0-9]+_t | u_?(char|short|int|long) | FILE | DIR
  | (blkcnt|blksize|caddr|clock|clockid|comparison_fn|daddr|dev|div|double|error|femode|fenv|fexcept
    |float|fpos|fpregset|fsblkcnt|fsfilcnt|fsid|gid|greg|gregset|id|imaxdiv|ino|int|intmax|intptr
    |key|ldiv|lldiv|locale|loff|max_align|mbstate|mcontext|mode|nlink|nullptr|off|pid|ptrdiff|quad
    |register|rsize|sig|sig_atomic|siginfo|sigset|sigval|size|socklen|ssize|stack|suseconds|time
    |timer|u_quad|uid|uintmax|uintptr|useconds|ucontext|wctrans|wctype|wint)(64)?_t
  | (fd_mask|fd_set|jmp_buf|sigjmp_buf|sigevent|timespec|timeval|itimerspec|sighandler_t)
  | (pthread|atomic|thrd|mtx|cnd|tss|stdc|memory_order)_\w*
""")

# math.h and complex.h, C99 to C23 with POSIX, BSD and GNU additions. Suffixes: f, l, f64, d32, _r.
_MATH = frozenset("""
    acos acosh acospi asin asinh asinpi atan atan2 atan2pi atanh atanpi cabs cacos cacosh
    canonicalize carg casin casinh catan catanh cbrt ccos ccosh ceil cexp cimag clog clog10
    compoundn conj copysign cos cosh cospi cpow cproj creal csin csinh csqrt ctan ctanh dadd ddiv
    decodebin decodedec dfma dmul drem dsqrt dsub encodebin encodedec erf erfc exp exp10 exp10m1
    exp2 exp2m1 expm1 fabs fadd fdim fdiv ffma finite floor fma fmax fmaximum fmaximum_mag
    fmaximum_mag_num fmaximum_num fmaxmag fmin fminimum fminimum_mag fminimum_mag_num fminimum_num
    fminmag fmod fmul fpclassify frexp fromfp fromfpx fsqrt fsub gamma getpayload hypot ilogb
    iscanonical iseqsig isfinite isgreater isgreaterequal isinf isless islessequal islessgreater
    isnan isnormal issignaling issubnormal isunordered iszero j0 j1 jn ldexp lgamma llogb llquantexp
    llrint llround log log10 log10p1 log1p log2 log2p1 logb logp1 lrint lround math_errhandling
    matherr modf nan nearbyint nextafter nextdown nexttoward nextup pow pow10 pown powr quantize
    quantum remainder remquo rint rootn round roundeven rsqrt samequantum scalb scalbln scalbn
    setpayload setpayloadsig signbit signgam significand sin sincos sinh sinpi sqrt tan tanh tanpi
    tgamma totalorder totalordermag trunc ufromfp ufromfpx y0 y1 yn
""".split())
_MATH_SUFFIX = re.compile(r"(f(16|32|64|128)x?|d(32|64|128)x?|[fl])?(_r)?")
_MATH_NARROWING = re.compile(r"[fd][0-9]+x?(add|sub|mul|div|fma|sqrt)([fd][0-9]+x?)?")

# stdlib.h, string.h and, because a linked function of the same name would replace them, the rest of
# ISO C and the common part of POSIX. Suffixes: _r, _l, _unlocked, 64.
_LIBC = frozenset("""
    a64l abort access acct alarm aligned_alloc alloca arc4random arc4random_buf arc4random_uniform
    asctime asprintf at_quick_exit atexit atof atoi atol atoll basename bcmp bcopy be16toh be32toh
    be64toh brk bsearch btowc bzero c16rtomb c32rtomb c8rtomb call_once calloc
    canonicalize_file_name chdir chmod chown chroot clearenv clearerr clock clock_getres
    clock_gettime clock_nanosleep clock_settime close closedir confstr connect creat crypt ctermid
    ctime cuserid daemon daylight difftime div dlclose dlopen dlsym dprintf drand48 dup dup2 dup3
    ecvt erand48 err execl execle execlp execv execve execvp execvpe exit explicit_bzero fchdir
    fchmod fchown fclose fcvt fdatasync fdopen feclearexcept fedisableexcept feenableexcept fegetenv
    fegetexcept fegetexceptflag fegetmode fegetround feholdexcept feof feraiseexcept ferror fesetenv
    fesetexcept fesetexceptflag fesetmode fesetround fetestexcept fetestexceptflag feupdateenv
    fflush ffs ffsl ffsll fgetc fgetpos fgets fgetwc fgetws fileno flock flockfile fmemopen fopen
    fork fpathconf fprintf fputc fputs fputwc fputws fread free free_aligned_sized free_sized
    freelocale freopen fscanf fseek fseeko fsetpos fstat fsync ftell ftello ftruncate funlockfile
    fwide fwprintf fwrite fwscanf gcvt getc getchar getcwd getdate getdelim getegid getentropy
    getenv geteuid getgid getgroups gethostname getline getloadavg getlogin getopt getpagesize
    getpass getpgid getpgrp getpid getppid getpt getsid getsubopt getuid getw getwc getwchar getwd
    gmtime grantpt gsignal htobe16 htobe32 htobe64 htole16 htole32 htole64 imaxabs imaxdiv index
    initstate ioctl isalnum isalpha isascii isatty isblank iscntrl isdigit isgraph islower isprint
    ispunct isspace isupper iswalnum iswalpha iswblank iswcntrl iswctype iswdigit iswgraph iswlower
    iswprint iswpunct iswspace iswupper iswxdigit isxdigit jrand48 kill killpg l64a labs lchown
    lcong48 ldiv le16toh le32toh le64toh lfind link listen llabs lldiv localeconv localtime lockf
    longjmp lrand48 lsearch lseek lstat malloc mblen mbrlen mbrtoc16 mbrtoc32 mbrtoc8 mbrtowc
    mbsinit mbsnrtowcs mbsrtowcs mbstowcs mbtowc memalignment memccpy memchr memcmp memcpy memfrob
    memmem memmove mempcpy memrchr memset memset_explicit mkdir mkdtemp mkfifo mkostemp mkostemps
    mkstemp mkstemps mktemp mktime mmap mrand48 munmap nanosleep newlocale nice nrand48 obstack
    on_exit once_flag open opendir open_memstream pathconf pause pclose perror pipe pipe2 poll popen
    posix_memalign posix_openpt pread printf profil pselect psignal ptsname putc putchar putenv puts
    putw putwc putwchar pwrite qecvt qfcvt qgcvt qsort quick_exit raise rand random rawmemchr read
    readdir readlink realloc reallocarray realpath recv remove rename rewind rindex rmdir rpmatch
    sbrk scanf secure_getenv seed48 select send setbuf setbuffer setegid setenv seteuid setgid
    setjmp setlinebuf setlocale setpgid setregid setreuid setsid setstate setuid setvbuf
    sigabbrev_np sigaction sigaddset sigaltstack sigdelset sigdescr_np sigemptyset sigfillset
    sigismember siglongjmp signal sigpause sigpending sigprocmask sigqueue sigset sigsetjmp
    sigsuspend sigtimedwait sigwait sigwaitinfo sleep snprintf socket sprintf srand srand48 srandom
    sscanf ssignal stat stpcpy stpncpy strcasecmp strcasestr strcat strchr strchrnul strcmp strcoll
    strcpy strcspn strdup strdupa strerror strerrordesc_np strerrorname_np strfromd strfromf
    strfromf128 strfromf32 strfromf32x strfromf64 strfromf64x strfroml strfry strftime strlen
    strncasecmp strncat strncmp strncpy strndup strndupa strnlen strpbrk strptime strrchr strsep
    strsignal strspn strstr strtod strtof strtof128 strtof32 strtof32x strtof64 strtof64x strtoimax
    strtok strtol strtold strtoll strtoq strtoul strtoull strtoumax strtouq strverscmp strxfrm swab
    swprintf swscanf symlink sync syscall sysconf system tempnam time timegm timelocal timespec_get
    timespec_getres timezone tmpfile tmpnam toascii tolower toupper towctrans towlower towupper
    truncate ttyname tzname tzset ualarm umask ungetc ungetwc unlink unlockpt unsetenv uselocale
    usleep valloc vasprintf vdprintf vfork vfprintf vfscanf vfwprintf vfwscanf vprintf vscanf
    vsnprintf vsprintf vsscanf vswprintf vswscanf vwprintf vwscanf wait waitpid wcpcpy wcpncpy
    wcrtomb wcscasecmp wcscat wcschr wcschrnul wcscmp wcscoll wcscpy wcscspn wcsdup wcsftime wcslen
    wcsncasecmp wcsncat wcsncmp wcsncpy wcsnlen wcsnrtombs wcspbrk wcsrchr wcsrtombs wcsspn wcsstr
    wcstod wcstof wcstoimax wcstok wcstol wcstold wcstoll wcstombs wcstoul wcstoull wcstoumax
    wcswidth wcsxfrm wctob wctomb wctrans wctype wcwidth wmemchr wmemcmp wmemcpy wmemmove wmempcpy
    wmemset wprintf write wscanf
""".split())
_LIBC_SUFFIX = re.compile(r"(_r|_l|_unlocked|64)?")
# fmt: on

# Devices that Windows opens instead of a file, with any suffix.
_DEVICES = re.compile(r"(?i)con|prn|aux|nul|clock\$|(com|lpt)[0-9]")
_SUFFIX = re.compile(r"(_data)?\.[A-Za-z][A-Za-z0-9]{0,7}")  # name_data.c holds captured arrays


def c_identifier(name: str, *, what: str) -> str:
    """`name`, if it may appear in generated C as it is; `what` says in the error whose name it is.

    >>> c_identifier("loss", what="function name")
    'loss'

    Raises
    ------
    UnsafeNameError
        The name is no plain identifier, or C, C++, the C library or symgrad uses it.
    """
    reason = _objection(name)
    if reason is not None:
        raise UnsafeNameError(f"{what}: {_shown(name)} {reason}. {_ALLOWED}")
    return str.__str__(name)  # drops a str subclass, whose own methods could return other text


def mangle(name: str, index: int) -> str:
    """A name that `c_identifier` accepts, as close to `name` as is easy to read.

    A good name is kept. Greek letters are spelled out, leading underscores dropped, and a reserved
    word gets one underscore (``int_``); whatever is left becomes ``v{index}``. Two names may become
    the same: pass the results through `unique`.

    >>> [mangle(name, 7) for name in ("x", "θ", "int", "<lambda>", "*/ int z; /*")]
    ['x', 'theta', 'int_', 'f', 'v7']
    """
    if not isinstance(name, str):
        return f"v{index}"
    if name == "<lambda>":
        return "f"
    name = str.__str__(name)[:200]
    if _objection(name) is None:
        return name
    plain = re.sub("_+", "_", "".join(map(_latin, name))).strip("_")
    for candidate in (plain[:MAX_LENGTH].rstrip("_"), plain[: MAX_LENGTH - 1].rstrip("_") + "_"):
        if _objection(candidate) is None:
            return candidate
    return f"v{index}"


def unique(names: Iterable[str]) -> list[str]:
    """`names`, with ``_2``, ``_3`` … added where one repeats, letter case not counting.

    Case does not count because names also become files and macros. Every name that comes first
    keeps it, also against an added number: the result depends on the order of `names` only.

    >>> unique(["x", "X", "x_2", "x"])
    ['x', 'X_3', 'x_2', 'x_4']

    Raises
    ------
    UnsafeNameError
        One of the names does not pass `c_identifier`.
    """
    names = [c_identifier(name, what="name") for name in names]
    originals = {name.lower() for name in names}
    seen: set[str] = set()
    result = []
    for name in names:
        if name.lower() in seen:
            name = _numbered(name, seen | originals)
        seen.add(name.lower())
        result.append(name)
    return result


def comment_text(text: str, limit: int = 200) -> str:
    """`text` on one line of at most `limit` characters that no C or C++ comment can be ended by.

    Everything but printable ASCII becomes ``?`` (bidirectional marks too: they reorder what a
    reader sees), comment marks and trigraphs are cut in two by a space, and a backslash at the end,
    which would draw the next line into the comment, is dropped. The result neither starts nor ends
    with a character that could join the template's own comment marks.

    >>> comment_text("*/ int stray; /*")
    ' * / int stray; / * '
    """
    text = " ".join(text[: 4 * limit].split())
    text = "".join(char if " " <= char <= "~" else "?" for char in text)
    text = re.sub(r"(?<=\*)(?=/)|(?<=/)(?=[*/])|(?<=\?)(?=\?)", " ", text)
    if len(text) > limit - 2:  # room for the spaces at both ends
        text = text[: limit - 5] + "..."
    text = text.rstrip("\\ ")
    return re.sub(r"^(?=[*/])|(?<=[*/?])$", " ", text)


def safe_path(directory: str | os.PathLike[str], name: str, suffix: str) -> Path:
    """``directory/name + suffix``, certain to be a file directly in `directory`. Creates nothing.

    The directory is the caller's choice and may be anywhere; it need not exist. It must not itself
    be a symbolic link, and no link or directory may stand where the file goes: writing would then
    change something elsewhere. Whether an ordinary file may be replaced is the caller's decision.

    Raises
    ------
    UnsafeNameError
        `name` is not a plain identifier (so no ``..``, separator, drive, dot or NUL), or Windows
        keeps it for a device.
    ExportError
        The directory or the suffix is unusable, or the target is not an ordinary file.
    """
    name = c_identifier(name, what="file name")
    if _DEVICES.fullmatch(name):
        raise UnsafeNameError(
            f"file name: {_shown(name)} is a device on Windows. Use another name."
        )
    if not isinstance(suffix, str) or not _SUFFIX.fullmatch(suffix):
        raise ExportError(
            f"file suffix: {_shown(suffix)} is not a dot and 1 to 8 letters or digits."
        )
    try:
        folder = os.fspath(directory)
    except TypeError:
        folder = None
    if not isinstance(folder, str) or not folder.strip() or not folder.isprintable():
        raise ExportError(f"export directory: {_shown(directory)} is not the path of a directory.")
    path = Path(os.path.abspath(folder), name + suffix)
    kind = _file_kind(path.parent)
    if kind not in (None, stat.S_IFDIR):
        found = "a symbolic link" if kind == stat.S_IFLNK else "not a directory"
        raise ExportError(f"export directory: {_shown(folder)} is {found}. Pass a real directory.")
    if kind is not None and _file_kind(path) not in (None, stat.S_IFREG):
        raise ExportError(f"export: {_shown(str(path))} exists and is not an ordinary file.")
    return path


def _objection(name: object) -> str | None:
    """Why `name` may not reach C, as the end of a sentence; None if it may."""
    if not isinstance(name, str):
        return f"is a {type(name).__name__}, not text"
    name = str.__str__(name)
    if not _SHAPE.fullmatch(name) or "__" in name:
        return "is not a plain identifier"
    if name in _KEYWORDS:
        return "is a keyword of C or C++"
    if _in_library(name):
        return "belongs to the C library or the compiler"
    if _GENERATED.fullmatch(name):
        return "is kept for generated code"
    return None


def _in_library(name: str) -> bool:
    return (
        name in _MACROS
        or _MACRO_FAMILIES.fullmatch(name) is not None
        or _TYPES.fullmatch(name) is not None
        or _MATH_NARROWING.fullmatch(name) is not None
        or _has_base(name, _MATH, _MATH_SUFFIX)
        or _has_base(name, _LIBC, _LIBC_SUFFIX)
    )


def _has_base(name: str, words: frozenset[str], suffix: re.Pattern[str]) -> bool:
    """Whether `name` is one of `words` followed by a `suffix`, which may be empty."""
    return any(
        name[:cut] in words and suffix.fullmatch(name, cut) for cut in range(1, len(name) + 1)
    )


def _latin(char: str) -> str:
    """A Greek letter as its English name (π as pi), any other character as it is."""
    match unicodedata.name(char, "").split():
        case ["GREEK", "SMALL", "LETTER", word]:
            return word.lower()
        case ["GREEK", "CAPITAL", "LETTER", word]:
            return word.capitalize()
    return char


def _numbered(name: str, taken: set[str]) -> str:
    # The second form is for names whose first one is reserved: M_2 looks like a macro of math.h.
    for number in itertools.count(2):
        for end in (f"_{number}", f"v{number}"):
            candidate = name[: MAX_LENGTH - len(end)].rstrip("_") + end
            if _objection(candidate) is None:
                break
        if candidate.lower() not in taken:
            return candidate
    raise AssertionError("unreachable: the count has no end")


def _file_kind(path: Path) -> int | None:
    """The type bits of what is at `path`, links not followed; None if there is nothing."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExportError(f"export: {_shown(str(path))} cannot be looked at: {error}") from error


def _shown(value: object) -> str:
    """`value` for a message: ASCII, so that it cannot disturb a terminal, and short."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:50]}…({len(text)} characters)"
