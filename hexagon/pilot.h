/* The kernel: INT8 scores of one head. */
#ifndef SHADOWATTN_HEXAGON_PILOT_H_
#define SHADOWATTN_HEXAGON_PILOT_H_

#include <stdint.h>

#include "protocol.h"

/* scores[r][j] of shadowattn/device.h for one head of a valid graph: query [rows][dim],
 * key [keys][dim], scores [rows][keys], each aligned to kHexagonVectorBytes. -128 is allowed in key
 * and query. May read kHexagonVectorBytes beyond the end of `key`. */
void pilot_scores(const HexagonGraph* graph, const int8_t* query, const int8_t* key,
                  int8_t* scores);

#endif /* SHADOWATTN_HEXAGON_PILOT_H_ */
