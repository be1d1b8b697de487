/*
 * Loads each program of BPF objects alone, with libbpf, and prints one JSON line for it: whether the kernel took it,
 * how many instructions it walked, the last line of its log, and the instructions that libbpf gave to the kernel.
 *
 * It is linked with -Wl,--wrap=bpf_prog_load. TARGET_BTF names a file with types that stand for the kernel's in CO-RE relocations.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char log_text[16 << 20];

/* The program that is being loaded, and its instructions in hexadecimal digits. */
static const char *loading;
static char *digits;

int __real_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license, const struct bpf_insn *insns,
                         size_t count, struct bpf_prog_load_opts *options);

int __wrap_bpf_prog_load(enum bpf_prog_type type, const char *name, const char *license, const struct bpf_insn *insns,
                         size_t count, struct bpf_prog_load_opts *options)
{
    /* libbpf also loads small programs of its own, to find out what the kernel can do. */
    if (loading && name && !strcmp(name, loading)) {
        const unsigned char *bytes = (const unsigned char *)insns;
        free(digits);
        digits = calloc(count * sizeof(*insns) + 1, 2);
        for (size_t at = 0; at < count * sizeof(*insns); at++)
            sprintf(digits + at * 2, "%02x", bytes[at]);
    }
    return __real_bpf_prog_load(type, name, license, insns, count, options);
}

static int silent(enum libbpf_print_level level, const char *format, va_list arguments)
{
    (void)level, (void)format, (void)arguments;
    return 0;
}

/* The log's last line before the statistics, and the number in them. */
static void end_of_log(char *line, size_t size, char *walked, size_t walked_size)
{
    char *statistics = NULL;
    *line = *walked = 0;
    for (char *at = log_text; (at = strstr(at, "processed ")); at++)
        statistics = at;
    if (!statistics)
        return;
    size_t digits = strspn(statistics + strlen("processed "), "0123456789");
    snprintf(walked, walked_size, "%.*s", (int)digits, statistics + strlen("processed "));
    char *end = statistics;
    while (end > log_text && end[-1] == '\n')
        end--;
    char *start = end;
    while (start > log_text && start[-1] != '\n')
        start--;
    snprintf(line, size, "%.*s", (int)(end - start), start);
    for (char *at = line; *at; at++)
        if (*at == '"' || *at == '\\' || iscntrl((unsigned char)*at))
            *at = '\'';
}

static void load(const char *path, const char *name)
{
    LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = getenv("TARGET_BTF"));
    struct bpf_object *object = bpf_object__open_file(path, &options);
    struct bpf_program *program, *wanted = NULL;
    struct bpf_map *map;
    char line[400], walked[32];
    if (!object)
        return;
    bpf_object__for_each_program(program, object) {
        int is = !strcmp(bpf_program__name(program), name);
        bpf_program__set_autoload(program, is);
        if (is)
            wanted = program;
    }
    /* The selftests' own loaders give some maps their size later. */
    bpf_object__for_each_map(map, object) {
        enum bpf_map_type type = bpf_map__type(map);
        if (type == BPF_MAP_TYPE_STRUCT_OPS)
            bpf_map__set_autocreate(map, false);
        else if (!bpf_map__max_entries(map) && type < BPF_MAP_TYPE_RINGBUF)
            bpf_map__set_max_entries(map, 1);
    }
    *log_text = 0;
    bpf_program__set_log_buf(wanted, log_text, sizeof(log_text));
    bpf_program__set_log_level(wanted, 1);
    free(digits);
    digits = NULL;
    loading = name;
    int result = bpf_object__load(object);
    loading = NULL;
    end_of_log(line, sizeof(line), walked, sizeof(walked));
    const char *file = strrchr(path, '/');
    printf("{\"object\":\"%s\",\"program\":\"%s\",\"section\":\"%s\",\"result\":%d,\"walked\":\"%s\",\"last\":\"%s\",\"insns\":\"%s\"}\n",
           file ? file + 1 : path, name, bpf_program__section_name(wanted), result, walked, line, digits ? digits : "");
    fflush(stdout);
    bpf_object__close(object);
}

int main(int count, char **paths)
{
    libbpf_set_print(silent);
    for (int i = 1; i < count; i++) {
        struct bpf_object *object = bpf_object__open_file(paths[i], NULL);
        struct bpf_program *program;
        if (!object) {
            fprintf(stderr, "libbpf cannot open %s\n", paths[i]);
            continue;
        }
        bpf_object__for_each_program(program, object)
            load(paths[i], bpf_program__name(program));
        bpf_object__close(object);
    }
    return 0;
}
