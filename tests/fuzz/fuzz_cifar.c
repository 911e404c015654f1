/* CIFAR's binary files. An input is: the version, which file has a size of its own, that size, the others'
 * size, the length of the class names, the class names, and bytes that are repeated to fill the files. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/files.h"
#include "tests/fuzz/readers.h"

enum { LARGEST = 4 * 3074 + 8 };

static void write_records(const char *name, size_t size, const sg_fuzz_input *content) {
    uint8_t *bytes = sg_fuzz_copy(NULL, size);
    for (size_t i = 0; i < size; i++) bytes[i] = content->left > 0 ? content->at[i % content->left] : 0;
    sg_fuzz_write(name, bytes, size);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const files[2][6] = {{"cifar10/data_batch_1.bin", "cifar10/data_batch_2.bin",
                                             "cifar10/data_batch_3.bin", "cifar10/data_batch_4.bin",
                                             "cifar10/data_batch_5.bin", "cifar10/test_batch.bin"},
                                            {"cifar100/train.bin", "cifar100/test.bin"}};
    sg_fuzz_input input = {data, size};
    int version = sg_fuzz_byte(&input) % 2, odd = sg_fuzz_byte(&input) % 8;
    size_t odd_size = sg_fuzz_number(&input, LARGEST), other_size = sg_fuzz_number(&input, LARGEST);
    size_t names_size = sg_fuzz_number(&input, 4096);
    sg_fuzz_input names = sg_fuzz_part(&input, names_size);
    for (int f = 0; f < 6 && files[version][f] != NULL; f++)
        write_records(files[version][f], f == odd ? odd_size : other_size, &input);
    const char *listed = version == 0 ? "cifar10/batches.meta.txt" : "cifar100/fine_label_names.txt";
    if (names_size > 0)
        sg_fuzz_write(listed, names.at, names.left);
    else
        sg_fuzz_remove(listed);
    char path[256];
    snprintf(path, sizeof path, "%s/%s", sg_fuzz_folder(), version == 0 ? "cifar10" : "cifar100");
    sg_fuzz_read_all(version == 0 ? &sg_data_cifar10 : &sg_data_cifar100, &(sg_data_options){.path = path},
                     NULL);
    return 0;
}
