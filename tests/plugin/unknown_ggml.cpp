// A libggml-base of a version that the plug-in does not know.
extern "C" {

#define SHADOWATTN_EXPORT __attribute__((visibility("default")))

SHADOWATTN_EXPORT const char* ggml_version() { return "0.99.0"; }
SHADOWATTN_EXPORT void ggml_type_name() {}
SHADOWATTN_EXPORT void ggml_graph_n_nodes() {}
SHADOWATTN_EXPORT void ggml_graph_node() {}
SHADOWATTN_EXPORT void ggml_backend_buft_is_host() {}
SHADOWATTN_EXPORT void ggml_backend_cpu_buffer_type() {}
SHADOWATTN_EXPORT void ggml_backend_cpu_buffer_from_ptr() {}
}
