/* Loads each file that is named, runs it on one image, from two threads at once, and prints its logits as hexadecimal
 * numbers or what was said of it. With -DCOUNTED it counts every allocation, and fails if a run makes one.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xnorlit.h>

#ifdef COUNTED
static size_t allocations;
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
static void count(void) { __atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST); }
void* malloc(size_t size) { return count(), __libc_malloc(size); }
void* calloc(size_t number, size_t size) { return count(), __libc_calloc(number, size); }
void* realloc(void* old, size_t size) { return count(), __libc_realloc(old, size); }
void* aligned_alloc(size_t by, size_t size) { return count(), __libc_memalign(by, size); }
int posix_memalign(void** to, size_t by, size_t size) { return count(), *to = __libc_memalign(by, size), *to ? 0 : 12; }
static size_t counted(void) { return __atomic_load_n(&allocations, __ATOMIC_SEQ_CST); }
#else
static size_t counted(void) { return 0; }
#endif

struct work {
  xnorlit_network* network;
  const unsigned char* pixels;
  float* logits;
  xnorlit_error error;
  size_t made; /* allocations of its runs */
};

static void* run(void* given) {
  struct work* work = given;
  for (int round = 0; round < 3; ++round) {
    const size_t before = counted();
    xnorlit_run(work->network, work->pixels, xnorlit_pixel_count(work->network), work->logits,
                xnorlit_class_count(work->network), &work->error);
    work->made += counted() - before;
  }
  return NULL;
}

static int tried(const char* path, int threads) {
  FILE* file = fopen(path, "rb");
  if (!file) return 2;
  fseek(file, 0, SEEK_END);
  const size_t size = (size_t)ftell(file);
  rewind(file);
  unsigned char* bytes = malloc(size ? size : 1);
  if (!bytes || fread(bytes, 1, size, file) != size) return 2;
  fclose(file);
  xnorlit_error error;
  xnorlit_network* network;
  const xnorlit_options options = {threads, NULL};
  const xnorlit_code code = xnorlit_load(bytes, size, &options, &network, &error);
  free(bytes); /* only loading reads it */
  if (code != XNORLIT_OK) {
    printf("%d %s\n", (int)code, error.message);
    return code == XNORLIT_BAD_FILE || code == XNORLIT_OUT_OF_MEMORY ? 0 : 3;
  }
  const size_t pixels = xnorlit_pixel_count(network), classes = xnorlit_class_count(network);
  unsigned char* image = malloc(pixels);
  for (size_t i = 0; i < pixels; ++i) image[i] = (unsigned char)(37 * i % 251);
  struct work work[2];
  pthread_t thread;
  for (int i = 0; i < 2; ++i) work[i] = (struct work){network, image, malloc(classes * sizeof(float)), {0}, 0};
  run(&work[0]); /* alone: what it allocates is its own */
  const size_t alone = work[0].made;
  pthread_create(&thread, NULL, run, &work[1]);
  run(&work[0]);
  pthread_join(thread, NULL);
  const int same = !memcmp(work[0].logits, work[1].logits, classes * sizeof(float));
  printf("0");
  for (size_t i = 0; i < classes; ++i) printf(" %a", (double)work[0].logits[i]);
  printf("\n");
  const int failed = !same || alone || work[0].error.code || work[1].error.code;
  if (failed) fprintf(stderr, "%s: same %d, allocations %zu\n", path, same, alone);
  for (int i = 0; i < 2; ++i) free(work[i].logits);
  free(image);
  xnorlit_free(network);
  return failed ? 4 : 0;
}

int main(int count, char** arguments) {
  for (int i = 2; i < count; ++i) {
    const int status = tried(arguments[i], atoi(arguments[1]));
    if (status) return status;
  }
  return 0;
}
