#include <bdrv.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    BlockDriverState *disk;
    unsigned char sector[BDRV_SECTOR_SIZE];
    /* Whatever the guest writes stays in a private overlay. */
    BdrvOpenOptions options = { .struct_size = sizeof(options),
                                .flags = BDRV_O_SNAPSHOT };

    if (argc != 2 || bdrv_open(&disk, argv[1], NULL, &options) < 0) {
        fprintf(stderr, "%s\n", argc == 2 ? bdrv_errmsg() : "usage: readme IMAGE");
        return 1;
    }
    printf("%s: %lld bytes\n", argv[1], (long long)bdrv_getlength(disk));

    /* One sector at sector 0; five bytes at offset 1000. */
    if (bdrv_read(disk, 0, sector, 1) < 0 || bdrv_pwrite(disk, "hello", 5, 1000) < 0) {
        fprintf(stderr, "%s\n", bdrv_errmsg());
    } else {
        printf("bootable: %s\n", sector[510] == 0x55 && sector[511] == 0xaa ? "yes" : "no");
    }
    return bdrv_close(disk) < 0;
}
