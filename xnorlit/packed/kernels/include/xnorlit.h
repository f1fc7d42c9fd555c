/* xnorlit: a trained binary network in C.
 *
 *   xnorlit_error error;
 *   xnorlit_network *network;
 *   if (xnorlit_load(bytes, size, NULL, &network, &error) != XNORLIT_OK) puts(error.message);
 *   xnorlit_run(network, pixels, xnorlit_pixel_count(network), logits, xnorlit_class_count(network), &error);
 *   xnorlit_free(network);
 *
 * The file is what `xnorlit pack` writes, versions 2 and 3 of docs/packed-format.md, and may come from anybody: every
 * length is checked before it is trusted, and what is no packed network is refused by a code and a message.
 *
 * Errors. A function that can fail returns a code and, unless `error` is null, writes it with a message there. No
 * exception leaves a function, none prints, and none ends the program.
 *
 * Memory. The bytes belong to the caller, and only xnorlit_load reads them. A file may make it allocate 64 bytes for
 * each of its own, and 640 MiB (docs/packed-format.md says why). xnorlit_load allocates all that xnorlit_run needs:
 * no other function allocates.
 *
 * Threads. Different networks do not know of each other. Several threads may share a network: xnorlit_run computes one
 * image at a time, and a second caller waits for the first. To run several at once, load the file once for each thread.
 * xnorlit_free must not run while another function has the network. All other functions only read.
 *
 * A forked child may run a network whose `threads` is 1; with more, its first run allocates threads of its own.
 */
#ifndef XNORLIT_H
#define XNORLIT_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define XNORLIT_API
#else
#define XNORLIT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct xnorlit_network xnorlit_network;

typedef enum xnorlit_code {
  XNORLIT_OK = 0,
  XNORLIT_BAD_ARGUMENT = 1,  /* a null pointer, a wrong count, an unknown instruction set */
  XNORLIT_BAD_FILE = 2,      /* no packed network, or one that is truncated or damaged; the message names the field */
  XNORLIT_OUT_OF_MEMORY = 3, /* the system gives no more */
  XNORLIT_UNEXPECTED = 4     /* a fault of this library */
} xnorlit_code;

typedef struct xnorlit_error {
  xnorlit_code code;
  char message[256]; /* UTF-8 with a 0 at its end, cut where it is longer; empty for XNORLIT_OK */
} xnorlit_error;

typedef struct xnorlit_options {
  int threads;     /* 1 to 64 that compute one image together, the caller among them; 0 for 1 */
  const char* isa; /* "avx512", "avx2", "neon", "wasm" or "portable"; null for the fastest that the processor runs */
} xnorlit_options;

/* Loads a network from the bytes of a file. `options` may be null. On failure *network is null. */
XNORLIT_API xnorlit_code xnorlit_load(const void* bytes, size_t size, const xnorlit_options* options,
                                      xnorlit_network** network, xnorlit_error* error);

/* Logits of one image: `pixels`, uint8 [size][size][3] in the order R, G, B, cropped and resized as
 * docs/packed-format.md says and not normalised; `logits`, float [classes]. The counts are those of the elements. */
XNORLIT_API xnorlit_code xnorlit_run(xnorlit_network* network, const uint8_t* pixels, size_t pixel_count, float* logits,
                                     size_t logit_count, xnorlit_error* error);

/* Frees a network; does nothing with null. */
XNORLIT_API void xnorlit_free(xnorlit_network* network);

/* What a network is. Each gives 0 or null for a null network; texts are UTF-8 and live as long as the network. */
XNORLIT_API size_t xnorlit_image_size(const xnorlit_network* network);  /* side of the square image, pixels */
XNORLIT_API size_t xnorlit_pixel_count(const xnorlit_network* network); /* size * size * 3 */
XNORLIT_API size_t xnorlit_class_count(const xnorlit_network* network);
XNORLIT_API const char* xnorlit_class_name(const xnorlit_network* network, size_t index); /* null beyond the last */
XNORLIT_API const char* xnorlit_network_name(const xnorlit_network* network);
XNORLIT_API const char* xnorlit_isa(const xnorlit_network* network); /* the kernels that compute */
/* The crop: side of the central square over the image's shorter side; with squash 1 it is a share of each side. */
XNORLIT_API double xnorlit_crop(const xnorlit_network* network);
XNORLIT_API int xnorlit_squash(const xnorlit_network* network);
/* Bytes of weights, thresholds and tables, and of what a run writes to. */
XNORLIT_API size_t xnorlit_resident_bytes(const xnorlit_network* network);
XNORLIT_API size_t xnorlit_arena_bytes(const xnorlit_network* network);

#ifdef __cplusplus
}
#endif

#endif
