#include "config/route_table.h"

#include "proxy/base/ascii.h"

const struct route_table *route_table_of(const struct service_port *port,
                                         struct str source_namespace)
{
    size_t low = 0, high = port->n_scopes;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = str_cmp(port->scopes[middle].source_namespace, source_namespace);
        if (order == 0)
            return port->scopes[middle].table;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    const bool has_common = port->n_scopes > 0 && str_is_empty(port->scopes[0].source_namespace);
    return has_common ? port->scopes[0].table : NULL;
}

static const struct route_list *find_domain(const struct route_domain *domains, size_t n,
                                            struct str name)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = str_cmp(domains[middle].name, name);
        if (order == 0)
            return domains[middle].list;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct route_list *route_table_find(const struct route_table *table, struct str host)
{
    char lower[256];
    if (table->n_exact + table->n_wildcards == 0 || host.len > sizeof(lower))
        return table->any;
    for (size_t i = 0; i < host.len; i++)
        lower[i] = ascii_lower(host.ptr[i]);
    host.ptr = lower;
    const struct route_list *list = find_domain(table->exact, table->n_exact, host);
    /* The longest wildcard first; it stands for one letter at least. */
    for (size_t i = 1; i < host.len && !list && table->n_wildcards > 0; i++)
        if (host.ptr[i] == '.')
            list = find_domain(table->wildcards, table->n_wildcards, str_sub(host, i, host.len));
    return list ? list : table->any;
}

uint32_t route_list_find(const struct route_list *list, struct str path)
{
    size_t low = 0, high = list->n_paths;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (str_cmp(list->paths[middle].text, path) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)low;
}
